"""Memory that runs out where nobody nearer says what to do: one paragraph, and no traceback."""

import dagster as dg
import pytest
import torch

from assets.failures import expected_errors
from dagster_project.commands.errors import explained_errors

ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    MemoryError(),
]


@pytest.mark.parametrize("error", ERRORS)
def test_a_command_ends_with_a_remedy(error: Exception, capsys):
    with pytest.raises(SystemExit), explained_errors():
        raise error
    assert "a device with more memory" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("error", ERRORS)
def test_an_asset_fails_with_a_remedy_and_is_not_tried_again(error: Exception):
    with pytest.raises(dg.Failure, match="a device with more memory") as failure, expected_errors():
        raise error
    assert not failure.value.allow_retries


def test_another_error_is_a_bug_still():
    with pytest.raises(RuntimeError, match="shapes"), expected_errors():
        raise RuntimeError("shapes do not match")

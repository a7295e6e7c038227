"""A plugin for pytest: what needs torch is skipped where there is none.

The newer Python of CI has none: for some, there is no build but that for CUDA, of several GB.
"""

from collections.abc import Generator, Iterator
from contextlib import contextmanager

import pytest

_REASON = "needs torch"


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Of a file that imports it."""
    report = yield
    if report.failed and "No module named 'torch'" in str(report.longrepr):
        report.outcome, report.longrepr = "skipped", (str(collector.path), 0, _REASON)
    return report


@contextmanager
def _skipped_without_torch() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        pytest.skip(_REASON)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None, object, object]:
    """Of a fixture that imports it."""
    with _skipped_without_torch():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    """Of a test that imports it."""
    with _skipped_without_torch():
        return (yield)

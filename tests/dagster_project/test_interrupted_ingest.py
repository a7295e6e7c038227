"""An ingest that fails at any step leaves no shards of unlisted sources, and can be completed."""

import errno
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from dagster_project.definitions import definitions
from tests.corpora import write_texts
from toolformer.home.home import Home
from toolformer.settings.settings_file import listed_sources
from toolformer.sources.manifest import Manifest
from warehouse.warehouse import Warehouse

pytestmark = pytest.mark.slow


def full_disk() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Failing:
    """Makes functions of `os` fail at their n-th call, or from then on."""

    def __init__(self, number: int, error: Callable[[], BaseException], *, for_ever: bool):
        self.number, self.error, self.for_ever = number, error, for_ever
        self.calls = 0

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            self.calls += 1
            if self.calls == self.number or (self.for_ever and self.calls > self.number):
                raise self.error()
            return function(*given, **named)

        return call


def ingest(*files: Path) -> None:
    """Cut the corpus with these files; without any as a build does."""
    config = {"corpus_manifest": {"config": {"new_sources": [str(file) for file in files]}}}
    with dg.DagsterInstance.ephemeral() as instance:
        definitions().resolve_job_def("prepare").execute_in_process(
            instance=instance,
            run_config={"ops": config},
            asset_selection=[dg.AssetKey("corpus_manifest")],
        )


def owners(home: Home) -> set[str]:
    """The names of the sources that have active shards."""
    return {entry.source for entry in Manifest.load(home.sources).active_shards}


@pytest.mark.parametrize(
    ("error", "functions"),
    [
        (KeyboardInterrupt, ("fsync", "rename")),
        # What is on the disk stays as it is then, as after a kill.
        (full_disk, ("replace", "rename")),
    ],
)
def test_after_a_failure_at_any_step_all_shards_have_a_listed_source_that_is_completed(
    home: Home,
    tmp_path,
    monkeypatch,
    error: Callable[[], BaseException],
    functions: tuple[str, ...],
):
    texts = {"a.jsonl": ["A one.", "A two."], "empty.jsonl": [""], "b.jsonl": ["B one."]}
    files = [write_texts(tmp_path / name, of_file) for name, of_file in texts.items()]
    good = {str(file) for file in files if file.name != "empty.jsonl"}
    for number in count(1):
        shutil.rmtree(home.root, ignore_errors=True)
        home.root.mkdir()
        failing = Failing(number, error, for_ever=error is full_disk)
        with monkeypatch.context() as patch:
            for name in functions:
                patch.setattr(os, name, failing(getattr(os, name)))
            with suppress(KeyboardInterrupt, dg.Failure, OSError):
                ingest(*files)
        listed, before = listed_sources(home.settings_file), owners(home)
        assert before <= listed
        if failing.calls < number:
            break
        # The next command is a build, or the same again.
        is_built = bool(listed) and number % 2 == 0
        ingest(*(() if is_built else files))
        completed = good & listed if is_built else good
        assert completed <= owners(home) <= completed | before
        assert is_built or listed_sources(home.settings_file) == owners(home) == good
        stored = Warehouse(home.warehouse, home.database).query("from documents")["text"]
        expected = [text for path in completed for text in texts[Path(path).name]]
        assert sorted(stored) == sorted(expected)
    assert number > 10

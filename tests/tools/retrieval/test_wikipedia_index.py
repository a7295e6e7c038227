import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from os import truncate
from pathlib import Path

import pytest
from filelock import FileLock

from tools.errors import ToolUnavailableError
from tools.retrieval.index_folder import IndexBuildError, index_information
from tools.retrieval.passage_ranking import PassageRanker
from tools.retrieval.passages import Passage
from tools.retrieval.wikipedia_index import build_index

REPOSITORY = Path(__file__).parents[3]


def passages(count: int) -> list[Passage]:
    return [Passage(f"p{n}", f"Title {n}", "", f"word{n} otter river", "") for n in range(count)]


def described(directory) -> tuple[str, int]:
    information = index_information(directory)
    assert information is not None
    return information["fingerprint"], information["passages"]


def siblings(directory) -> set[str]:
    return {entry.name for entry in directory.parent.iterdir()} - {f"{directory.name}.lock"}


@pytest.mark.java
def test_index_says_what_it_was_built_from(tmp_path):
    directory = tmp_path / "deep" / "index"
    seen: list[int] = []
    build_index(passages(2_500), directory, fingerprint="abc", progress=seen.append)
    assert seen == [2_000, 2_500]
    assert described(directory) == ("abc", 2_500)
    assert siblings(directory) == {"index"}


@pytest.mark.java
def test_failed_build_leaves_the_older_index_and_no_half_one(tmp_path):
    directory = tmp_path / "index"
    build_index(passages(2), directory, fingerprint="old")

    def breaking():
        yield from passages(2_100)
        raise RuntimeError("the dump is damaged")

    with pytest.raises(RuntimeError, match="the dump is damaged"):
        build_index(breaking(), directory, fingerprint="new")
    with pytest.raises(IndexBuildError, match="no passages"):
        build_index([], directory, fingerprint="new")
    assert described(directory) == ("old", 2)
    assert siblings(directory) == {"index"}
    # One that was cut short is not opened.
    assert len(ranker(directory).rank(["otter"], 5)[0]) == 2
    (file,) = directory.glob("segments_*")
    truncate(file, file.stat().st_size - 1)
    with pytest.raises(ToolUnavailableError, match=file.name):
        ranker(directory).rank(["otter"], 5)


def ranker(directory) -> PassageRanker:
    return PassageRanker(directory, k1=0.9, b=0.4)


@pytest.mark.java
def test_killed_process_leaves_no_index_and_a_restart_builds_it(tmp_path):
    directory = tmp_path / "index"
    code = f"""
import os, signal
from pathlib import Path
from tests.tools.retrieval.test_wikipedia_index import build_index, passages

def killed():
    yield from passages(2_001)
    os.kill(os.getpid(), signal.SIGKILL)

build_index(killed(), Path({str(directory)!r}), fingerprint="x")
"""
    done = subprocess.run([sys.executable, "-c", code], timeout=120, check=False, cwd=REPOSITORY)
    assert done.returncode == -9
    assert not directory.exists()
    # What was written, and its lock.
    assert len(siblings(directory)) == 2
    build_index(passages(3), directory, fingerprint="x")
    assert described(directory) == ("x", 3)
    assert siblings(directory) == {"index"}


@pytest.mark.java
def test_second_builder_waits_and_finds_the_work_done(tmp_path):
    directory = tmp_path / "index"
    build_index(passages(4), directory, fingerprint="x")

    def never():
        raise AssertionError("the passages were read")
        yield

    with ThreadPoolExecutor(1) as threads:
        with FileLock(tmp_path / "index.lock"):
            second = threads.submit(build_index, never(), directory, fingerprint="x")
            with pytest.raises(TimeoutError):
                second.result(timeout=0.3)
        assert second.result(timeout=30) is None
    assert described(directory) == ("x", 4)


def test_damaged_information_means_no_index(tmp_path):
    for text in ("", "{", "[]"):
        (tmp_path / "index.json").write_text(text)
        assert index_information(tmp_path) is None

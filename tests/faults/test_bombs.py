"""Every bomb is read in bounded memory and time, and said to be one."""

import multiprocessing
import signal
from collections.abc import Iterator
from multiprocessing.pool import Pool

import pytest

from tests.faults.bombs import BOMBS
from tests.faults.read_bomb import read_bomb

pytestmark = pytest.mark.slow

# No record but the bomb.
WITHOUT_TEXTS = {"text_of_gigabytes", "zstandard_window_of_two_gigabytes"}
MEGABYTES, SECONDS = 512, 180


@pytest.fixture(scope="module")
def processes() -> Iterator[Pool]:
    """A process of its own for each file, in which everything is imported already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([read_bomb.__module__])
    # Where SIGINT is ignored, Dagster ignores this too, and what inherits that is not ended by it.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with context.Pool(1, maxtasksperchild=1) as pool:
        yield pool


@pytest.mark.parametrize("name", list(BOMBS))
def test_a_bomb_takes_neither_memory_nor_time(tmp_path, name: str, processes: Pool):
    bomb, reasons = BOMBS[name]
    read = processes.apply_async(read_bomb, (bomb(tmp_path), tmp_path / "home")).get(SECONDS)
    assert read.megabytes < MEGABYTES
    assert (read.texts == 0) == (name in WITHOUT_TEXTS)
    if name == "zstandard_window_of_two_gigabytes":
        assert "too much memory" in read.errors[0]
    elif name in WITHOUT_TEXTS:
        # Nothing of a source without texts is stored.
        assert all(reason in read.errors[0] for reason in reasons)
    else:
        assert read.reasons == reasons

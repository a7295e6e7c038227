"""The number of threads: who says it, and how a trial finds it."""

from collections.abc import Iterator

import pytest
import torch

from toolformer.forward import threads
from toolformer.forward.threads import fewest_of_the_fastest, set_threads, trial


@pytest.fixture(autouse=True)
def two_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What PyTorch takes by itself, and nothing in the environment."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("seconds", "chosen"),
    [
        ({1: 1.0, 2: 0.5, 4: 0.3}, 4),
        ({1: 1.0, 2: 0.5, 4: 0.46}, 2),
        ({1: 1.0, 2: 0.95, 4: 0.92}, 1),
        ({1: 0.1, 2: 1.1}, 1),
    ],
)
def test_fewer_threads_are_taken_where_they_are_about_as_fast(
    seconds: dict[int, float], chosen: int
):
    assert fewest_of_the_fastest(seconds) == chosen


@pytest.mark.parametrize(
    ("most", "counts"), [(2, [1, 2]), (3, [1, 2, 3]), (8, [1, 2, 4, 8]), (12, [1, 2, 4, 8, 12])]
)
def test_a_trial_tries_powers_of_two_and_all(most: int, counts: list[int]):
    assert threads._counts(most) == counts


def test_a_busy_moment_does_not_decide_a_trial():
    # Warming up, then five turns of each; the machine is busy in the second and the third.
    seconds = {1: iter([9, 2, 30, 2, 2, 2]), 2: iter([9, 1, 1, 30, 1, 1])}
    order = []

    def turn(count: int) -> float:
        order.append(count)
        return next(seconds[count])

    assert trial([1, 2], turn) == {1: 10, 2: 5}
    assert order == [1, 2] * 6


def test_the_fastest_number_is_set_and_the_line_says_what_was_measured(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(threads, "_turn", lambda count: {1: 0.022, 2: 0.012}[count])
    assert set_threads(0) == "2 threads: a trial took 0.11 s with 1, 0.06 s with 2"
    assert torch.get_num_threads() == 2
    monkeypatch.setattr(threads, "_turn", lambda count: {1: 0.022, 2: 0.2}[count])
    assert set_threads(0) == "1 thread: a trial took 0.11 s with 1, 1.00 s with 2"
    assert torch.get_num_threads() == 1


def test_a_real_trial_leaves_one_of_the_numbers_that_it_tried():
    assert "a trial took" in set_threads(0)
    assert torch.get_num_threads() in (1, 2)


def test_the_environment_wins_over_a_trial_and_the_setting_over_both(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(threads, "_turn", lambda _: pytest.fail("there was a trial"))
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert set_threads(0) == "2 threads: OMP_NUM_THREADS is set"
    assert set_threads(1) == "1 thread: as the settings say"
    assert torch.get_num_threads() == 1


def test_one_core_needs_no_trial(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(threads, "_turn", lambda _: pytest.fail("there was a trial"))
    torch.set_num_threads(1)
    assert set_threads(0) == "1 thread: there is one core"

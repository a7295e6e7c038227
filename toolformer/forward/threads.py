"""How many threads of a processor compute: as told, or what a short trial finds fastest.

More is not always faster. On cores that other programs use too, the threads of one operation wait
for each other, mostly spinning, and a pass takes several times the processor time.

Does not look at graphics cards, and changes nothing before it is asked to.
"""

import os
import statistics
import time
from collections.abc import Callable, Mapping

# Fewer threads are taken where they are slower by no more than this.
_TIE = 1.1
# Each number of threads has as many turns, one after the other, and its median counts.
_TURNS = 5
_PASSES_PER_TURN = 4
# Of a pass: rows, and the widths of a small model's layer.
_ROWS, _WIDTH, _INNER_WIDTH = 128, 576, 1536
_VARIABLE = "OMP_NUM_THREADS"


def set_threads(wanted: int) -> str:
    """Set the number of threads of this process, and say how it came about.

    Args:
        wanted: at least 1; 0 to take what `OMP_NUM_THREADS` says or else a trial finds fastest,
            among 1, 2, 4 … and as many as PyTorch takes by itself.

    Returns:
        One line, such as `2 threads: a trial took 0.11 s with 1, 0.06 s with 2`.
    """
    import torch

    if wanted:
        torch.set_num_threads(wanted)
        return f"{_threads(wanted)}: as the settings say"
    most = torch.get_num_threads()
    if os.environ.get(_VARIABLE):
        return f"{_threads(most)}: {_VARIABLE} is set"
    if most == 1:
        return f"{_threads(1)}: there is one core"
    seconds = trial(_counts(most), _turn)
    chosen = fewest_of_the_fastest(seconds)
    torch.set_num_threads(chosen)
    measured = ", ".join(f"{each:.2f} s with {count}" for count, each in seconds.items())
    return f"{_threads(chosen)}: a trial took {measured}"


def trial(counts: list[int], turn: Callable[[int], float]) -> dict[int, float]:
    """Measure numbers of threads in turns, so that a busy moment hits all of them.

    Args:
        counts: numbers of threads.
        turn: seconds that a piece of work takes with so many.

    Returns:
        By number of threads the seconds of all turns, if each took as long as the median one.
    """
    for count in counts:
        # Threads are started and memory is taken at the first.
        turn(count)
    turns = [[turn(count) for count in counts] for _ in range(_TURNS)]
    return {
        count: _TURNS * statistics.median(each)
        for count, each in zip(counts, zip(*turns, strict=True), strict=True)
    }


def fewest_of_the_fastest(seconds: Mapping[int, float]) -> int:
    """The fastest number of threads, or fewer that are about as fast.

    Example:
        >>> fewest_of_the_fastest({1: 0.11, 2: 0.06}), fewest_of_the_fastest({1: 0.11, 2: 0.104})
        (2, 1)
    """
    return min(count for count, each in seconds.items() if each <= min(seconds.values()) * _TIE)


def _counts(most: int) -> list[int]:
    """Powers of two below the most, and the most."""
    return [*(2**power for power in range((most - 1).bit_length())), most]


def _turn(threads: int) -> float:
    """Seconds of a few passes through a layer: short operations, as a small model's are."""
    import torch

    torch.set_num_threads(threads)
    states = torch.ones(_ROWS, _WIDTH)
    up, down = torch.ones(_WIDTH, _INNER_WIDTH), torch.ones(_INNER_WIDTH, _WIDTH)
    began = time.perf_counter()
    for _ in range(_PASSES_PER_TURN):
        inner = torch.nn.functional.silu(states @ up)
        states = torch.nn.functional.normalize(inner @ down)
    return time.perf_counter() - began


def _threads(count: int) -> str:
    return f"{count} thread{'s' if count > 1 else ''}"

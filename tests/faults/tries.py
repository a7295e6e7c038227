"""Tries of faults, several at a time; each works in a home of its own."""

import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tests.faults.comparison import Damage, damage_of
from tests.faults.home import Done, FaultyHome
from tests.faults.report import Outcome
from tests.faults.undisturbed import Stage

AT_ONCE = 2
_WORDS_SHOWN = 800


@dataclass(frozen=True, slots=True)
class Try:
    """One try of a fault.

    Attributes:
        fault: what it counts for.
        name: of this try.
        act: does it and tells the damage.
    """

    fault: str
    name: str
    act: Callable[[], Damage]


def try_all(tries: Sequence[Try]) -> list[Outcome]:
    """Run them; one outcome for each fault."""
    outcomes = {each.fault: Outcome(each.fault) for each in tries}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        futures = [pool.submit(_timed, each) for each in tries]
    for each, future in zip(tries, futures, strict=True):
        error = future.exception()
        if error is None:
            damage, seconds = future.result()
        else:
            # A home too broken to be compared is damage, and the other tries go on.
            told = traceback.format_exception_only(error)
            damage, seconds = Damage(remarks=[f"cannot be compared: {' '.join(told).strip()}"]), 0.0
        outcomes[each.fault].add(each.name, damage)
        outcomes[each.fault].seconds += seconds
    return list(outcomes.values())


def _timed(one: Try) -> tuple[Damage, float]:
    began = time.monotonic()
    damage = one.act()
    return damage, time.monotonic() - began


def repeat(home: FaultyHome, stage: Stage) -> Damage:
    """Run a command again and compare with the home where it ran undisturbed."""
    damage = failure(home.run(*stage.arguments), "the repeat")
    damage.add(damage_of(home, stage.after))
    return damage


def failure(done: Done, name: str) -> Damage:
    """A command that should have worked and did not."""
    damage = Damage()
    if done.code:
        damage.remarks.append(f"{name} ends with {done.code}: {last_words(done)}")
    return damage


def told_plainly(done: Done) -> Damage:
    """A command that should have failed with a paragraph that says what to do."""
    damage = Damage()
    if done.code != 1:
        damage.remarks.append(f"exit code {done.code} instead of 1: {last_words(done)}")
    if done.has_traceback:
        damage.remarks.append(f"shows the inside of the program: {last_words(done)}")
    return damage


def last_words(done: Done) -> str:
    """The end of an output, on one line."""
    return " ".join(done.output.split())[-_WORDS_SHOWN:]

"""Tries of faults, two at a time, each in a home of its own; and the table of what came of them."""

import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from tests.faults.comparison import Damage, damage_of
from tests.faults.home import Done, FaultyHome
from tests.faults.injection import Event, drawn, striking
from tests.faults.undisturbed import HarnessError, Stage, Workshop

AT_ONCE = 2
_MAX_REMARKS = 12


@dataclass(slots=True)
class Outcome:
    """One kind of fault: how often it was tried, and the damage of all tries together."""

    fault: str
    tried: int = 0
    damage: Damage = field(default_factory=Damage)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0


class Try(NamedTuple):
    """One try of a fault, under a name of its own; `act` does it and tells the damage."""

    fault: str
    name: str
    act: Callable[[], Damage]


def try_all(tries: Sequence[Try]) -> list[Outcome]:
    """Run them; one outcome for each fault."""
    outcomes = {each.fault: Outcome(each.fault) for each in tries}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        results = list(pool.map(_timed, tries))
    for each, (damage, seconds) in zip(tries, results, strict=True):
        outcome = outcomes[each.fault]
        outcome.tried += 1
        outcome.damage.add(damage, each.name)
        outcome.seconds += seconds
    return list(outcomes.values())


def _timed(one: Try) -> tuple[Damage, float]:
    began = time.monotonic()
    try:
        damage = one.act()
    except Exception as error:  # noqa: BLE001
        # A home too broken to be compared is damage, and the other tries go on.
        told = " ".join(traceback.format_exception_only(error)).strip()
        damage = Damage(remarks=[f"cannot be compared: {told}"])
    return damage, time.monotonic() - began


def tries_at_events(
    workshop: Workshop,
    stage: Stage,
    fault: str,
    pattern: str,
    count: int,
    act: Callable[[Workshop, str, Stage, Event], Damage],
) -> list[Try]:
    """Tries of a fault at events of a command whose kind matches a pattern, drawn by the seed."""
    name = f"{fault} {stage.name}"
    events = drawn(stage.events, pattern, count, workshop.chance(name))
    if count and not events:
        raise HarnessError(f"{name}: the command has no such event")
    return [
        Try(
            fault,
            f"{stage.name}: {event} ({event.path})",
            partial(
                act, workshop, f"{name.replace(':', '').replace(' ', '-')}-{number}", stage, event
            ),
        )
        for number, event in enumerate(events)
    ]


def struck(
    workshop: Workshop, name: str, stage: Stage, event: Event, action: str
) -> tuple[FaultyHome, Done, Damage]:
    """Run a command in a home of its own, in which it is struck at an event."""
    home = stage.before.copy(workshop.place(name))
    mark = home.root.with_name(f"{name}.struck")
    done = home.run(*stage.arguments, extra=striking(action, home.root, event, mark))
    told = f"the event did not come; code {done.code}: {done.last_words}"
    return home, done, Damage(remarks=[] if mark.exists() else [told])


def repeat(home: FaultyHome, stage: Stage) -> Damage:
    """Run a command again and compare with the home where it ran undisturbed."""
    damage = failure(home.run(*stage.arguments), "the repeat")
    damage.add(damage_of(home, stage.after))
    return damage


def failure(done: Done, name: str) -> Damage:
    """A command that should have worked and did not."""
    told = f"{name} ends with {done.code}: {done.last_words}"
    return Damage(remarks=[told] if done.code else [])


def told_plainly(done: Done) -> Damage:
    """A command that should have failed with a paragraph that says what to do."""
    damage = Damage()
    if done.code != 1:
        damage.remarks.append(f"exit code {done.code} instead of 1: {done.last_words}")
    if done.has_traceback:
        damage.remarks.append(f"shows the inside of the program: {done.last_words}")
    return damage


def print_table(outcomes: Sequence[Outcome]) -> None:
    """Print what was tried and what came of it."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    counted = ("lost", "doubled", "wrong", "running", "locks")
    table = Table("fault", "tried", *counted, "s", "remark", show_lines=True)
    for each in outcomes:
        told = [*each.damage.remarks, *each.notes]
        if len(told) > _MAX_REMARKS:
            told[_MAX_REMARKS:] = [f"… and {len(told) - _MAX_REMARKS} more"]
        counts = [str(getattr(each.damage, name)) for name in counted]
        row = (each.fault, str(each.tried), *counts, f"{each.seconds:.0f}", "\n".join(told))
        table.add_row(*map(escape, row))
    Console(width=180).print(table)

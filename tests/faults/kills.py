"""Commands killed at events: the repeat must end with the rows of an undisturbed run."""

import shutil
import time
from functools import partial
from pathlib import Path

from tests.faults.comparison import Damage, held_locks, processes_of
from tests.faults.home import FaultyHome
from tests.faults.injection import Event, drawn, striking
from tests.faults.report import Outcome
from tests.faults.tries import Try, last_words, repeat, try_all
from tests.faults.undisturbed import Stage, Workshop

_MOMENTS = "(open|written|before rename|after rename|remove) "
# Command, areas of the home, and kills: in all and in the short form.
_PLAN = (
    ("manifest", "ingest", "sources", 5, 1),
    ("settings and home", "ingest", "(top|locks|dagster|warehouse/.*)", 4, 0),
    ("documents", "ingest", "warehouse/(documents|rejected_records)", 3, 0),
    ("sampling", "build", ".*/(candidate_calls|document_selection)", 6, 1),
    ("execution", "build", "warehouse/executed_calls", 3, 0),
    ("scoring", "build", "(warehouse|cache/checkpoints)/scored_calls", 5, 0),
    ("rescoring in float32", "build", ".*/rescoring", 3, 1),
    ("decisions", "build", "warehouse/filtered_calls", 3, 0),
    ("costs", "build", "warehouse/stage_costs", 2, 0),
    ("merge", "build", "warehouse/augmented_texts", 3, 0),
    ("runs of Dagster", "build", "(dagster|locks)", 2, 0),
    ("training set", "train", "warehouse/training_(texts|exclusions)", 2, 0),
    ("training", "train", "(cache/.*|models/.*|warehouse/training_metrics)", 6, 1),
    ("evaluation", "evaluate", "warehouse/evaluation_results", 4, 0),
)


def kill_commands(workshop: Workshop) -> list[Outcome]:
    """Kill, repeat and compare; one outcome for each stage of the pipeline."""
    tries: list[Try] = []
    for name, command, areas, count, few in _PLAN:
        tries += kills_of(
            workshop,
            workshop.stages[command],
            name,
            areas,
            few if workshop.is_short else count,
        )
    outcomes = try_all(tries)
    if not Path("/proc/self/environ").exists():
        outcomes.append(Outcome("processes left running", not_run="they are looked for in /proc"))
    return outcomes


def kills_of(workshop: Workshop, stage: Stage, name: str, areas: str, count: int) -> list[Try]:
    """Tries at events in some areas of the home, drawn by the seed."""
    chance = workshop.chance(f"kill {name}")
    return [
        Try(
            f"kill: {name}",
            f"{event} ({event.path})",
            partial(_kill, workshop, f"kill-{name}-{number}".replace(" ", "-"), stage, event),
        )
        for number, event in enumerate(drawn(stage.events, _MOMENTS + areas, count, chance))
    ]


def _kill(workshop: Workshop, name: str, stage: Stage, event: Event) -> Damage:
    home = stage.before.copy(workshop.place(name))
    damage = killed(home, stage, event)
    damage.add(repeat(home, stage))
    if not damage:
        shutil.rmtree(home.root)
    return damage


def killed(home: FaultyHome, stage: Stage, event: Event) -> Damage:
    """Kill a command at an event; what is left of it right after."""
    struck = home.root.with_name(f"{home.root.name}.struck")
    done = home.run(*stage.arguments, extra=striking("kill", home.root, event, struck))
    damage = Damage()
    if not struck.exists():
        damage.remarks.append(f"the event did not come; exit code {done.code}: {last_words(done)}")
    damage.add(_damage_of_the_dead(home))
    return damage


def _damage_of_the_dead(home: FaultyHome) -> Damage:
    """Right after a kill nobody runs, and the kernel has freed every lock."""
    damage = Damage()
    running = _outlive(home)
    damage.running = len(running)
    damage.remarks += [f"after the kill process {each} runs" for each in running]
    held = held_locks(home)
    damage.locks = len(held)
    damage.remarks += [f"after the kill lock {name} is held" for name in held]
    return damage


def _outlive(home: FaultyHome) -> list[int]:
    """Processes that have not ended some seconds after the kill; workers notice it by a pipe."""
    for _ in range(50):
        running = processes_of(home)
        if not running:
            return []
        time.sleep(0.1)
    return running

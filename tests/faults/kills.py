"""Commands killed at events: the repeat must end with the rows of an undisturbed run."""

from contextlib import suppress

from tests.faults.comparison import Damage, damage_of_the_living, processes_of
from tests.faults.home import FaultyHome, settings_of
from tests.faults.injection import Event
from tests.faults.tries import Outcome, Try, repeat, struck, tries_at_events, try_all
from tests.faults.undisturbed import Stage, Workshop, observed
from tests.processes import ServiceError, await_until

_MOMENTS = "(open|written|before rename|after rename|remove) "
# Command, areas of the home, and kills: in all and in the short form.
_PLAN = (
    ("manifest", "ingest", "sources", 5, 1),
    ("settings and home", "ingest", "(top|locks|dagster|warehouse/.*)", 4, 0),
    (
        "documents",
        "ingest",
        "warehouse/(documents|rejected_records|reading_losses|text_marks)",
        3,
        0,
    ),
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
        count = few if workshop.is_short else count
        tries += _kills_of(workshop, workshop.stages[command], name, areas, count)
    return try_all(tries)


def kill_search(workshop: Workshop) -> list[Outcome]:
    """Kill builds that make the Wikipedia index or read it, in Java; not in the short form."""
    if workshop.is_short:
        return []
    before = workshop.stages["ingest"].after.copy(workshop.place("search-before"))
    before.write_settings(settings_of(workshop.ingredients, with_search=True))
    stage = observed("search", ("build", "--tools", "WikiSearch"), before, workshop.folder)
    return try_all(
        [
            *_kills_of(workshop, stage, "Wikipedia index", "indexes.*", 3),
            *_kills_of(workshop, stage, "WikiSearch's calls", "warehouse/executed_calls", 1),
        ]
    )


def _kills_of(workshop: Workshop, stage: Stage, name: str, areas: str, count: int) -> list[Try]:
    """Tries at events in some areas of the home, drawn by the seed."""
    return tries_at_events(workshop, stage, f"kill: {name}", _MOMENTS + areas, count, _kill)


def _kill(workshop: Workshop, name: str, stage: Stage, event: Event) -> Damage:
    home, damage = killed(workshop, name, stage, event)
    damage.add(repeat(home, stage))
    return damage


def killed(workshop: Workshop, name: str, stage: Stage, event: Event) -> tuple[FaultyHome, Damage]:
    """Kill a command at an event; right after it nobody runs, and all locks are free."""
    home, _, damage = struck(workshop, name, stage, event, "kill")
    with suppress(ServiceError):
        await_until(lambda: not processes_of(home), "workers notice it by a pipe", 5)
    damage.add(damage_of_the_living(home), "after the kill")
    return home, damage

"""Commands stopped at events: the repeat must end with the rows of an undisturbed run."""

from contextlib import suppress
from functools import partial

from tests.faults.comparison import Damage, damage_of_owners, damage_of_the_living, processes_of
from tests.faults.home import settings_of
from tests.faults.injection import Event
from tests.faults.tries import Outcome, Try, repeat, struck, tries_at_events, try_all
from tests.faults.undisturbed import Stage, Workshop, observed
from tests.processes import ServiceError, await_until
from toolformer.settings.settings_file import listed_sources

_MOMENTS = "(open|written|before rename|after rename|remove) "
# Ctrl-C and a terminated run let an ingest remove sources from its list again.
_ACTIONS_OF_INGEST = ("kill", "interrupt", "terminate")
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
        for action in _ACTIONS_OF_INGEST if command == "ingest" else ("kill",):
            tries += _stops_of(workshop, workshop.stages[command], name, areas, count, action)
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
            *_stops_of(workshop, stage, "Wikipedia index", "indexes.*", 3),
            *_stops_of(workshop, stage, "WikiSearch's calls", "warehouse/executed_calls", 1),
        ]
    )


def _stops_of(
    workshop: Workshop, stage: Stage, name: str, areas: str, count: int, action: str = "kill"
) -> list[Try]:
    """Tries at events in some areas of the home, drawn by the seed."""
    act = partial(_stop, action=action)
    return tries_at_events(workshop, stage, f"{action}: {name}", _MOMENTS + areas, count, act)


def _stop(workshop: Workshop, name: str, stage: Stage, event: Event, *, action: str) -> Damage:
    """Stop a command at an event: nobody runs then, all locks are free, and a repeat completes it.

    An ingest that was interrupted while its source stays listed is completed by a build.
    """
    home, done, damage = struck(workshop, name, stage, event, action)
    with suppress(ServiceError):
        await_until(lambda: not processes_of(home), "workers notice it by a pipe", 5)
    damage.add(damage_of_the_living(home), "afterwards")
    damage.add(damage_of_owners(home), "afterwards")
    if done.has_traceback:
        damage.remarks.append(f"shows the inside of the program: {done.last_words}")
    is_built = action == "interrupt" and listed_sources(home.home.settings_file)
    damage.add(repeat(home, workshop.stages["build"] if is_built else stage))
    return damage

"""Kills while the Wikipedia index is made, and while WikiSearch reads it; this starts Java."""

from tests.faults.home import settings_of
from tests.faults.injection import recorded, recording
from tests.faults.kills import kills_of
from tests.faults.report import Outcome
from tests.faults.tries import try_all
from tests.faults.undisturbed import HarnessError, Stage, Workshop
from tools.errors import ToolUnavailableError
from tools.retrieval.java import find_java

_TOOLS = ("--tools", "WikiSearch")


def kill_search(workshop: Workshop) -> list[Outcome]:
    """Kill builds that make the index; not in the short form."""
    if workshop.is_short:
        return []
    try:
        find_java()
    except ToolUnavailableError as error:
        return [Outcome("kill: Wikipedia index", not_run=f"needs Java ({error})")]
    before = workshop.stages["ingest"].after.copy(workshop.place("search-before"))
    before.write_settings(settings_of(workshop.ingredients, with_search=True))
    after = before.copy(workshop.place("search-after"))
    log = workshop.folder / "search.events"
    done = after.run("build", *_TOOLS, extra=recording(after.root, log))
    if done.code:
        raise HarnessError(f"a build with WikiSearch fails undisturbed:\n{done.output}")
    stage = Stage("search", ("build", *_TOOLS), before, after, recorded(log))
    return try_all(
        [
            *kills_of(workshop, stage, "Wikipedia index", "indexes.*", 3),
            *kills_of(workshop, stage, "WikiSearch's calls", "warehouse/executed_calls", 1),
        ]
    )

"""Sources and the manifest disappear and come back: nothing that was computed may go with them."""

from collections.abc import Callable
from functools import partial

from dagster_project.settings.source_file import sources_file
from tests.faults.comparison import Damage, damage_of
from tests.faults.home import FaultyHome
from tests.faults.report import Outcome
from tests.faults.tries import Try, failure, told_plainly, try_all
from tests.faults.undisturbed import Workshop

FAULT = "sources and manifest gone"


def lose_sources(workshop: Workshop) -> list[Outcome]:
    """Lose them one after the other in one home; a last build finds everything as it was."""
    return try_all([Try(FAULT, ", ".join(LOSSES), partial(_unchanged, workshop))])


def _unchanged(workshop: Workshop) -> Damage:
    undisturbed = workshop.stages["build"].after
    home = undisturbed.copy(workshop.place("sources"))
    before, damage = _partitions(home), Damage()
    for name, lose in LOSSES.items():
        lost = lose(workshop, home)
        lost.remarks = [f"{name}: {remark}" for remark in lost.remarks]
        damage.add(lost)
    damage.add(failure(home.run("build"), "the build afterwards"))
    made_again = sorted(name for name in _partitions(home) if name not in before)
    if made_again:
        damage.wrong += len(made_again)
        damage.remarks.append(f"made again: {', '.join(made_again[:5])}")
    damage.add(damage_of(home, undisturbed))
    return damage


def _move_the_file_away(workshop: Workshop, home: FaultyHome) -> Damage:
    texts = workshop.ingredients.texts
    aside = texts.rename(texts.with_name("aside"))
    try:
        damage = failure(home.run("build"), "a build without the file")
        damage.add(damage_of(home, workshop.stages["build"].after))
    finally:
        aside.rename(texts)
    return damage


def _remove_the_source(workshop: Workshop, home: FaultyHome) -> Damage:
    texts = str(workshop.ingredients.texts)
    file = sources_file(home.home.settings_file)
    listed = file.read_text()
    damage = failure(home.run("sources", "remove", texts), "sources remove")
    file.write_text(listed)
    return damage


def _lose_the_manifest(workshop: Workshop, home: FaultyHome) -> Damage:
    manifest = home.home.sources / "manifest.json"
    copy = manifest.rename(manifest.with_name("copy.json"))
    damage = told_plainly(home.run("build"))
    copy.rename(manifest)
    return damage


def _partitions(home: FaultyHome) -> set[str]:
    """The versions of all partitions: one that was made again has another name."""
    return {str(path.relative_to(home.root)) for path in home.home.warehouse.rglob("*.parquet")}


LOSSES: dict[str, Callable[[Workshop, FaultyHome], Damage]] = {
    "the file of the source is away": _move_the_file_away,
    "the manifest is lost, and put back": _lose_the_manifest,
    # Last: the build afterwards takes it back.
    "the source is removed and listed again": _remove_the_source,
}

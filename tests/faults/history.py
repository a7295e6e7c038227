"""What is stored is enough: without Dagster's records, in any order, and while sources are away."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.faults.comparison import Damage, damage_of
from tests.faults.home import COMMANDS, SHARDS, FaultyHome
from tests.faults.tries import Outcome, Try, failure, told_plainly, try_all
from tests.faults.undisturbed import Workshop
from toolformer.settings.source_file import sources_file


def change_history(workshop: Workshop) -> list[Outcome]:
    """Forget what Dagster knew; lose sources and find them again; build shard by shard."""
    tries = [
        Try("Dagster's storage removed", "build", partial(_forget, workshop)),
        Try("sources and manifest gone", ", ".join(_LOSSES), partial(_lose_sources, workshop)),
    ]
    if not workshop.is_short:
        tries.append(Try("shards one by one", "the last first", partial(_one_by_one, workshop)))
    return try_all(tries)


def _forget(workshop: Workshop) -> Damage:
    home = workshop.finished.copy(workshop.place("forgotten"))
    shutil.rmtree(home.home.dagster)
    damage = Damage()
    with _nothing_is_made(home, damage):
        for command in COMMANDS[1:2] if workshop.is_short else COMMANDS[1:]:
            damage.add(failure(home.run(command), command))
    damage.add(damage_of(home, workshop.finished))
    return damage


@contextmanager
def _nothing_is_made(home: FaultyHome, damage: Damage) -> Iterator[None]:
    """Partitions and models that were made again meanwhile are damage."""
    before = _files(home)
    yield
    if made := sorted({*_files(home)} - {*before}):
        damage.add(Damage(wrong=len(made), remarks=[f"made again: {made[:5]}"]))


def _files(home: FaultyHome) -> Iterator[tuple[str, int, int]]:
    """Which file each partition and each model is: one that was made anew is another."""
    found = [*home.home.warehouse.rglob("*.parquet"), *home.home.models.rglob("*.safetensors")]
    for path in found:
        state = path.stat()
        yield str(path.relative_to(home.root)), state.st_ino, state.st_mtime_ns


def _one_by_one(workshop: Workshop) -> Damage:
    stage = workshop.stages["build"]
    home = stage.before.copy(workshop.place("one-by-one"))
    damage = Damage()
    for shard in (SHARDS[-1], *SHARDS[:-1]):
        damage.add(failure(home.run("build", "--shards", shard), f"build of {shard}"))
    damage.add(damage_of(home, stage.after))
    return damage


def _lose_sources(workshop: Workshop) -> Damage:
    """Lose them one after the other in one home; a last build finds everything as it was."""
    undisturbed = workshop.stages["build"].after
    home = undisturbed.copy(workshop.place("sources"))
    damage = Damage()
    with _nothing_is_made(home, damage):
        for name, lose in _LOSSES.items():
            damage.add(lose(home, workshop.ingredients.texts), name)
        damage.add(failure(home.run("build"), "the build afterwards"))
    damage.add(damage_of(home, undisturbed))
    return damage


def _move_the_file_away(home: FaultyHome, texts: Path) -> Damage:
    aside = texts.rename(texts.with_name("aside"))
    try:
        return failure(home.run("build"), "a build without the file")
    finally:
        aside.rename(texts)


def _lose_the_manifest(home: FaultyHome, texts: Path) -> Damage:
    manifest = home.home.sources / "manifest.json"
    copy = manifest.rename(manifest.with_name("copy.json"))
    damage = told_plainly(home.run("build"))
    copy.rename(manifest)
    return damage


def _remove_the_source(home: FaultyHome, texts: Path) -> Damage:
    file = sources_file(home.home.settings_file)
    listed = file.read_text()
    damage = failure(home.run("sources", "remove", str(texts)), "sources remove")
    file.write_text(listed)
    return damage


_LOSSES: dict[str, Callable[[FaultyHome, Path], Damage]] = {
    "the file of the source is away": _move_the_file_away,
    "the manifest is lost, and put back": _lose_the_manifest,
    # Last: the build afterwards takes it back.
    "the source is removed and listed again": _remove_the_source,
}

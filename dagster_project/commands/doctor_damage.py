"""Compares the files of a home with their digests."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from dagster_project.commands.findings import Finding, guarded, named
from toolformer.base.beside_models import MIN_CALL_PROBABILITY_FILE
from toolformer.base.kept_digests import DIGESTS_FILE, damaged_files, described
from toolformer.base.sealed import DIGEST, unsealed
from toolformer.home.home import Home
from toolformer.home.settings.evaluation_sections import BASE, FINETUNED
from toolformer.home.settings.sections import Settings
from toolformer.home.wiring.model_damage import remedy_for_model
from toolformer.sources.manifest import manifest_path
from toolformer.training.training_state import PROGRESS_FILE

# Every row of a partition is read to find damage; more than this would take more than a second.
_MAX_BYTES_READ = 128 * 2**20


def examine_files(home: Home, settings: Settings, *, is_full: bool) -> Iterator[Finding]:
    """Look for damaged files; what cannot be read is a finding too.

    Args:
        is_full: read everything to its end; else compare names and sizes, and read partitions up to
            128 MiB.
    """
    from tools.retrieval.index_folder import INFORMATION_FILE

    indexes = {"the Wikipedia index": home.wikipedia_index, "the passage index": home.passage_index}
    remedies = {
        (name, folder): f"Remove {folder}; the next build makes it again"
        for name, folder in indexes.items()
        if (folder / INFORMATION_FILE).exists() or (folder / DIGESTS_FILE).exists()
    }
    remedies |= {
        (f"the model {folder}", folder): remedy_for_model(folder, home)
        for folder in _models(home, settings)
    }
    for (name, folder), remedy in remedies.items():
        compare = partial(_compare, f"files of {name}", folder, remedy, is_full)
        yield from guarded(f"files of {name}", compare)
    yield from guarded("files with a digest of their own", lambda: _sealed_files(home))
    yield from guarded("judgements", lambda: _judgements(home))
    yield from guarded("partitions", lambda: _partitions(home, is_full))


def _sealed_files(home: Home) -> Iterator[Finding]:
    """The small files of the program, each of which holds a digest of itself."""
    name = "files with a digest of their own"
    patterns = {
        f"sources/{manifest_path(home.sources).name}": "Restore it from a copy",
        "sources.json": "Correct it, or move it aside and ingest your sources again",
        f"models/*/{MIN_CALL_PROBABILITY_FILE}": "Remove it; `toolformer train` makes it again",
        f"cache/checkpoints/*/state-*/{PROGRESS_FILE}": "Remove the folder of the run; it is "
        "trained from the beginning",
    }
    for pattern, remedy in patterns.items():
        for file in home.root.glob(pattern):
            try:
                content = json.loads(file.read_bytes())
                unsealed(content, content.keys() - {DIGEST})
            except (AttributeError, OSError, ValueError) as error:
                yield Finding(name, "warning", f"{file}: {error}", remedy, (str(file),))


def _judgements(home: Home) -> Iterator[Finding]:
    from warehouse.labels import REMEDY, damage_of_labels, labels_file

    if detail := damage_of_labels(home.warehouse):
        files = (str(labels_file(home.warehouse)),)
        yield Finding("judgements", "warning", detail, REMEDY, files)


def _models(home: Home, settings: Settings) -> list[Path]:
    models = {
        file.parent
        for folder in (home.models, home.converted_models)
        for pattern in ("*.safetensors", DIGESTS_FILE)
        for file in folder.glob(f"[!.]*/{pattern}")
    }
    for path in {settings.language_model.path, settings.sampling.annotator}:
        if path not in ("embedded", BASE, FINETUNED) and Path(path).is_dir():
            models.add(Path(path))
    return sorted(models)


def _compare(name: str, folder: Path, remedy: str, is_full: bool) -> Iterator[Finding]:
    """Compare the files of a folder with their digests."""
    damaged = damaged_files(folder, max_bytes=None if is_full else 0)
    if damaged:
        if DIGESTS_FILE in damaged:
            remedy = f"Remove {folder / DIGESTS_FILE}: the other files may well be sound"
        files = tuple(str(folder / file) for file in damaged)
        yield Finding(name, "warning", f"damaged: {described(damaged)}", remedy, files)


def _partitions(home: Home, is_full: bool) -> Iterator[Finding]:
    from warehouse.schema import tables
    from warehouse.warehouse import Warehouse

    warehouse = Warehouse(home.warehouse, home.database).skipping_damage()
    sizes = dict.fromkeys(tables(), 0)
    for info in warehouse.partitions():
        sizes[info.table] += info.bytes
    read, examined = 0, []
    for table in sorted(sizes, key=sizes.__getitem__):
        read += sizes[table]
        if read > _MAX_BYTES_READ and not is_full:
            break
        examined.append(table)
    if damaged := sorted(warehouse.damage(examined)):
        names = named([str(path.relative_to(home.warehouse.absolute())) for path in damaged])
        detail = f"{len(damaged)} damaged or missing: {names}"
        remedy = f"Remove these files in {home.warehouse}; the next build makes them again"
        yield Finding("partitions", "warning", detail, remedy, tuple(map(str, damaged)))

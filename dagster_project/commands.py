"""What the commands of `toolformer` do.

Does not parse the command line; `cli.py` does, and imports this module only when a command runs, so
that `--help` is quick.
"""

import datetime
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from assets.shard_stage import EXPECTED_ERRORS
from dagster_project import console
from dagster_project.home import Home
from dagster_project.plan import BuildPlan, PlannedSlice
from dagster_project.resources.language_model import (
    ModelHolder,
    base_model_directory,
    precision_of,
)
from dagster_project.resources.toolbox import Toolbox, open_toolbox
from dagster_project.runs import (
    RunFailedError,
    dagster_instance,
    neighbouring,
    rejected_sources,
    run_job,
)
from dagster_project.settings import Settings, SettingsError, SourceSettings, merged
from dagster_project.settings_file import add_sources, load_settings, write_settings_file
from toolformer.completions import Completion
from toolformer.errors import ToolformerError
from toolformer.sources.manifest import Manifest, ShardEntry
from toolformer.sources.source import STARTER_TEXTS, WIKIPEDIA_EXCERPT
from tools.registry import TOOL_NAMES
from tools.wikipedia_index import index_information
from warehouse.warehouse import Warehouse

COMMAND_ERRORS = (*EXPECTED_ERRORS, RunFailedError)


@dataclass(frozen=True)
class RunOptions:
    """What the flags of a command change for one run.

    Attributes:
        preset: instead of the one in toolformer.yaml.
        overrides: settings that win over toolformer.yaml.
        force: compute also what is up to date.
        tools: only these tools.
    """

    preset: str | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    force: bool = False
    tools: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        preset: str | None,
        changes: Sequence[str] | None,
        *,
        force: bool = False,
        tools: Sequence[str] = (),
    ) -> "RunOptions":
        """From the command line's flags.

        Raises:
            SettingsError: a change is not of the form NAME=VALUE.
        """
        overrides: dict[str, Any] = {}
        for change in changes or ():
            name, separator, value = change.partition("=")
            if not separator or not name:
                raise SettingsError(
                    f"--set {change!r} is not of the form NAME=VALUE. Expected for example "
                    "--set tools.Calendar.filtering_threshold=0.5."
                )
            try:
                nested: Any = YAML(typ="safe").load(io.StringIO(value))
            except YAMLError as error:
                raise SettingsError(
                    f"The value in --set {change} is not valid YAML. Expected a number, a text or "
                    "a list such as [a, b]; put quotes around a text with special characters."
                ) from error
            for part in reversed(name.split(".")):
                nested = {part: nested}
            overrides = merged(overrides, nested)
        return cls(preset, overrides, force, tuple(tools))

    def load_settings(self, home: Home) -> Settings:
        """The settings of this run; the settings file is written at first use."""
        write_settings_file(home.settings_file, preset=self.preset or "laptop")
        return load_settings(home.settings_file, overrides=self.overrides, preset=self.preset)

    def resources(self) -> dict[str, dict[str, Any]]:
        """As configuration of the Dagster resources."""
        return {
            "settings": {
                "overrides": dict(self.overrides),
                "preset": self.preset or "",
                "force": self.force,
            },
            "toolbox": {"tools": list(self.tools)},
        }


def open_warehouse(home: Home | None = None) -> Warehouse:
    """The warehouse of the home, ready for readers."""
    home = home or Home.find()
    warehouse = Warehouse(home.warehouse, home.database)
    warehouse.prepare()
    return warehouse


def ingest_sources(paths: Sequence[str], given: Mapping[str, Any]) -> None:
    """Add sources to the settings file and cut them into shards.

    The embedded corpus is only the default: the first source that is added takes its place, unless
    shards of it have been cut already, in which case it is listed beside the new one.
    """
    home = Home.find()
    options = RunOptions()
    settings = options.load_settings(home)
    known = {source.path for source in settings.corpus.sources}
    new = [
        SourceSettings(path=_absolute(path), **given)
        for path in paths
        if _absolute(path) not in known
    ]
    for path in paths:
        if _absolute(path) in known:
            console.say(
                f"{path} is listed in {home.settings_file} already; change its entry there."
            )
    has_embedded_shards = any(
        entry.source in (STARTER_TEXTS, WIKIPEDIA_EXCERPT)
        for entry in Manifest.load(home.sources).active_shards
    )
    if not settings.corpus.sources and has_embedded_shards:
        new = [
            SourceSettings(path=STARTER_TEXTS),
            SourceSettings(path=WIKIPEDIA_EXCERPT, shard_size=10),
            *new,
        ]
    before = home.settings_file.read_text()
    if new:
        add_sources(home.settings_file, new)
    try:
        _check_sources(load_settings(home.settings_file), [source.path for source in new])
        shards_before = {entry.key for entry in Manifest.load(home.sources).active_shards}
        with dagster_instance(home) as instance:
            run_job(instance, "prepare", resources=options.resources(), assets=["corpus_manifest"])
            rejected = rejected_sources(instance)
    except BaseException:
        # A source that cannot be used must not stay in the settings and fail every later run.
        home.settings_file.write_text(before)
        raise
    refused = [source for source in new if source.path in rejected]
    if refused:
        home.settings_file.write_text(before)
        usable = [source for source in new if source not in refused]
        if usable:
            add_sources(home.settings_file, usable)
    added = [
        entry
        for entry in Manifest.load(home.sources).active_shards
        if entry.key not in shards_before
    ]
    console.say(
        f"{len(added)} new shards with {sum(entry.records for entry in added)} records; "
        f"{len(shards_before)} shards were there before."
    )
    if refused:
        raise ToolformerError(" ".join(rejected[source.path] for source in refused))


def _absolute(path: str) -> str:
    """Paths are kept absolute: the UI runs in another folder than the command did."""
    if path in (STARTER_TEXTS, WIKIPEDIA_EXCERPT) or "://" in path:
        return path
    return str(Path(path).expanduser().absolute())


def _check_sources(settings: Settings, paths: Sequence[str]) -> None:
    from assets.corpus import configured_sources
    from toolformer.sources.files import list_files

    for source in configured_sources(settings):
        if source.path in paths:
            list_files(source)


def prepare(options: RunOptions, home: Home, settings: Settings) -> None:
    """Cut the corpus and build the index where that has not been done or the settings changed."""
    assets = ["corpus_manifest"]
    wants_search = not options.tools or "WikiSearch" in options.tools
    if wants_search and settings.tools.WikiSearch.is_enabled:
        assets.append("wikipedia_index")
        if index_information(home.wikipedia_index) is None:
            console.say("Building the Wikipedia index first; this is done once.")
    with dagster_instance(home) as instance:
        try:
            run_job(
                instance,
                "prepare",
                # Forcing a build means its stages; the index is only made anew when it is stale.
                resources={**options.resources(), "settings": _unforced(options)},
                assets=assets,
            )
        except RunFailedError:
            # Without an index the other tools can still be sampled, and WikiSearch says why not.
            if "WikiSearch" in options.tools or not Manifest.load(home.sources).active_shards:
                raise


def _unforced(options: RunOptions) -> dict[str, Any]:
    return {**options.resources()["settings"], "force": False}


def build_dataset(options: RunOptions, *, shards: Sequence[str], dry_run: bool) -> None:
    """Run the stages of the shards, or say what they would do.

    Raises:
        RunFailedError: shards failed; the others are finished all the same.
    """
    home = Home.find()
    settings = options.load_settings(home)
    open_toolbox(settings, home, named=[name for name in options.tools if name != "WikiSearch"])
    if not (dry_run and Manifest.load(home.sources).active_shards):
        prepare(options, home, settings)
    toolbox = open_toolbox(settings, home, named=options.tools)
    for name, why in toolbox.unavailable.items():
        console.say(f"{name} is left out: {why}")
    entries = _chosen_shards(Manifest.load(home.sources), shards)
    from toolformer.model_identity import model_identity

    plan = BuildPlan(
        open_warehouse(home),
        settings,
        toolbox,
        model=model_identity(base_model_directory(settings, home)),
        precision=precision_of(settings),
        force=options.force,
    ).of(entries)
    if dry_run:
        _show_plan(plan, entries)
        return
    if not plan:
        console.say(f"{len(entries)} shards are up to date; nothing to do.")
        return
    todo = sorted({planned.shard for planned in plan})
    failures: list[RunFailedError] = []
    with dagster_instance(home) as instance, console.progress_bars():
        pending = neighbouring(instance, todo)
        while pending:
            group = pending.pop(0)
            try:
                run_job(instance, "build_dataset", resources=options.resources(), shards=group)
            except RunFailedError as error:
                failures.append(error)
                rest = [shard for shard in group if shard not in error.failed_shards]
                if error.failed_shards and rest:
                    # A failed stage ends its run; the other shards go on in runs of their own.
                    pending += neighbouring(instance, rest)
    if failures:
        raise RunFailedError("\n".join(str(failure) for failure in failures))
    show_statistics(examples=False)


def _chosen_shards(manifest: Manifest, shards: Sequence[str]) -> list[ShardEntry]:
    if not shards:
        return manifest.active_shards
    return [manifest.entry(key) for key in shards]


def _show_plan(plan: Sequence[PlannedSlice], entries: Sequence[ShardEntry]) -> None:
    import polars as pl

    if not plan:
        console.say(f"{len(entries)} shards are up to date; a build would do nothing.")
        return
    rows = pl.DataFrame(
        [
            {
                "stage": planned.table,
                "tool": planned.slice_name,
                "why": planned.reason,
                "shard": planned.shard,
                "tokens": planned.tokens,
                "seconds": planned.seconds,
            }
            for planned in plan
        ]
    )
    summary = rows.group_by("stage", "tool", "why", maintain_order=True).agg(
        pl.len().alias("shards"),
        pl.col("tokens").sum().alias("expected tokens"),
        (pl.col("seconds").sum() / 60).round(1).alias("expected minutes"),
    )
    console.frame(summary)
    console.say(
        f"{len(plan)} slices of {len({planned.shard for planned in plan})} shards, about "
        f"{rows['tokens'].sum():,} tokens and {rows['seconds'].sum() / 60:.1f} minutes."
    )


def train_model(options: RunOptions) -> None:
    """Make the training set and finetune the model on it."""
    home = Home.find()
    options.load_settings(home)
    with dagster_instance(home) as instance, console.progress_bars():
        run_job(
            instance,
            "train_and_evaluate",
            resources=options.resources(),
            assets=["training_set", "finetuned_model", "call_statistics"],
        )
    console.say(f"The finetuned model is in {home.finetuned_model}.")
    console.frame(
        open_warehouse(home).query(
            "select step, loss, learning_rate, tokens, development_perplexity "
            "from training_metrics where development_perplexity is not null order by run, step"
        )
    )


def evaluate_models(options: RunOptions, *, benchmarks: Sequence[str]) -> None:
    """Run the benchmarks with base and finetuned model."""
    home = Home.find()
    if benchmarks:
        overrides = merged(options.overrides, {"evaluation": {"benchmarks": list(benchmarks)}})
        options = RunOptions(options.preset, overrides, options.force, options.tools)
    options.load_settings(home)
    with dagster_instance(home) as instance, console.progress_bars():
        run_job(
            instance,
            "train_and_evaluate",
            resources=options.resources(),
            assets=["evaluation_results"],
        )
    console.frame(
        open_warehouse(home).query(
            "select * from evaluation_summary order by benchmark, model, mode"
        )
    )


def complete_text(
    text: str,
    options: RunOptions,
    *,
    with_calls: bool,
    show_trace: bool,
    model_name: str | None,
    today: str | None,
    max_new_tokens: int | None,
) -> None:
    """Continue a text with live calls and print it."""
    from dagster_project.live_calls import complete_with_tools

    home = Home.find()
    settings = options.load_settings(home)
    toolbox = open_toolbox(settings, home, named=options.tools, while_decoding=True)
    if not with_calls:
        toolbox = Toolbox({}, {}, {})
    directory = model_directory(model_name, settings, home)
    holder = ModelHolder()
    try:
        (completion,) = complete_with_tools(
            holder.load(directory, settings, home),
            [text],
            toolbox,
            settings,
            dates=[_date(today)],
            with_calls=with_calls,
            max_new_tokens=max_new_tokens,
        )
    finally:
        holder.release()
    console.say(text + completion.text)
    for undone in completion.undone_calls:
        console.say(f"(taken back:{undone.text} – {undone.reason})")
    if show_trace:
        show_steps(completion)


def show_steps(completion: Completion) -> None:
    """Print every decoded token with its kind and the rank of the call token there."""
    import polars as pl

    console.frame(
        pl.DataFrame(
            [
                {"token": repr(step.text), "kind": step.kind, "rank of ' ['": step.call_rank}
                for step in completion.trace
            ]
        )
    )


def model_directory(name: str | None, settings: Settings, home: Home) -> Path:
    """The directory of the model that a command names.

    Raises:
        ToolformerError: the finetuned model is asked for and not there.
    """
    is_trained = any(home.finetuned_model.glob("*.safetensors"))
    if name == "finetuned" and not is_trained:
        raise ToolformerError(
            "There is no finetuned model yet. Run `toolformer train` first, or use --model base."
        )
    if name is None and not is_trained:
        console.say("(There is no finetuned model yet; this is the base model.)")
    if name == "finetuned" or (name is None and is_trained):
        return home.finetuned_model
    if name in (None, "base"):
        return base_model_directory(settings, home)
    return Path(name).expanduser()


def _date(given: str | None) -> datetime.date:
    if given is None:
        return datetime.datetime.now().astimezone().date()
    try:
        return datetime.date.fromisoformat(given)
    except ValueError as error:
        raise SettingsError(f"--today {given!r} is not a date. Expected YYYY-MM-DD.") from error


def show_statistics(*, examples: bool = True) -> None:
    """Print the statistics views."""
    warehouse = open_warehouse()
    console.heading("Calls by tool")
    console.frame(warehouse.query("select * from call_statistics order by tool"))
    console.heading("Kept calls by threshold")
    console.frame(
        warehouse.query("select * from threshold_sweep order by tool, filtering_threshold")
    )
    if not examples:
        return
    console.heading("Dropped")
    console.frame(warehouse.query("select * from drop_reasons order by tool, stage, rows desc"))
    show_examples(warehouse, per_tool=3)


def show_examples(warehouse: Warehouse, *, per_tool: int) -> None:
    """Print the kept calls that help most, in their sentences."""
    console.heading("Kept calls, in their text")
    rows = warehouse.query(
        "select tool, loss_reduction, text_before, call, text_after from kept_examples "
        "qualify row_number() over (partition by tool order by loss_reduction desc, call_id) <= $n "
        "order by tool, loss_reduction desc",
        {"n": per_tool},
    )
    for row in rows.iter_rows(named=True):
        context = " ".join(f"{row['text_before']}⟦{row['call']}⟧{row['text_after']}".split())
        console.say(f"{row['tool']}  {row['loss_reduction']:.2f}  … {context} …")


def list_tools() -> None:
    """Print the tools with their settings and whether they can run."""
    import polars as pl

    home = Home.find()
    settings = RunOptions().load_settings(home)
    rows = []
    for name in TOOL_NAMES:
        of_tool = settings.tools.of(name)
        toolbox = open_toolbox(settings, home)
        state = "available" if name in toolbox.tools else toolbox.unavailable.get(name, "disabled")
        rows.append(
            {
                "tool": name,
                "state": state,
                "τ_s": of_tool.sampling_threshold,
                "k": of_tool.positions_per_text,
                "m": of_tool.calls_per_position,
                "τ_f": of_tool.filtering_threshold,
                "prompt": of_tool.prompt or "built in",
            }
        )
    console.frame(pl.DataFrame(rows))

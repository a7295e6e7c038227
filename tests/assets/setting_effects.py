"""What a setting changes: which stages make their rows anew after it was changed.

All stages say what they depend on; this only turns their declarations round, for the documentation.
"""

from collections.abc import Iterator

from pydantic import BaseModel

from assets.dataset.stages import PIPELINE
from assets.stage import ANY_TOOL
from assets.stages import STAGES
from toolformer.settings.sections import Settings
from toolformer.settings.tool_sections import PluginSettings, ToolsSettings

WITHOUT_EFFECT = {
    "preset": "it selects the values of other settings",
    "rounds": "each round changes other settings",
    "language_model.device": "devices differ in the last digits only",
    "language_model.server.url": "the same model at another address gives the same rows",
    "language_model.server.key_variable": "a key does not change what a model writes",
    "sampling.shards": "it only limits which shards are annotated",
    "execution.attempts": "retries do not change results",
    "execution.uses_cache": "cached results are those of the tool",
    "execution.worker_memory_gib": "a call that runs out of memory fails, and is repeated",
    "tools.*.environment": "a key does not change what a tool answers",
    "training.min_texts": "it only refuses training on too few texts",
    "training.gradient_checkpointing": "it trades time for memory",
    "training.processes": "the model is the same with any number of processes",
    "training.save_every": "it only decides where a killed run resumes",
    "decoding.max_new_tokens": "only `toolformer complete` uses it; benchmarks have own limits",
    "runs.shards_per_run": "it only divides work into runs",
}
"""Settings that make nothing out of date, with the reason."""


def setting_paths(section: type[BaseModel] = Settings, prefix: str = "") -> Iterator[str]:
    """The paths of all settings; those of a tool once, with `*` in place of its name."""
    if section is ToolsSettings:
        yield from setting_paths(PluginSettings, f"{prefix}{ANY_TOOL}.")
        return
    for name, field in section.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from setting_paths(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{field.alias or name}"


def stages_of(path: str) -> list[str]:
    """The stages whose rows depend directly on a setting."""
    return [
        stage.name
        for stage in STAGES
        if any(path == named or path.startswith(f"{named}.") for named in stage.all_settings)
    ]


def effect(path: str) -> str:
    """The stages that a change of a setting makes anew, or why there are none."""
    stages = stages_of(path)
    if not stages:
        return f"nothing: {WITHOUT_EFFECT[path]}"
    return ", ".join(f"`{name}`" for name in stages)


def stages_table() -> str:
    """The stages of a shard with what they read, as a Markdown table."""
    return "\n".join(
        ["| stage | outputs per shard | reads | module |", "|---|---|---|---|", *_stage_lines()]
    )


def _stage_lines() -> Iterator[str]:
    for stage in PIPELINE:
        outputs = "one per tool" if stage.per == "tool" else "one"
        reads = ", ".join(f"`{name}`" for name in (*stage.reads, *stage.reads_indexes))
        file = f"{stage.compute.__module__.replace('.', '/')}.py"
        yield f"| `{stage.name}` | {outputs} | {reads or 'its shard of the corpus'} | `{file}` |"

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
    "preset": "it names the values of other settings",
    "rounds": "each round changes other settings",
    "language_model.device": "only last digits differ between devices",
    "language_model.server.url": "the same model at another address is the same model",
    "language_model.server.key_variable": "a key is no part of what a model says",
    "sampling.shards": "it says which shards are annotated",
    "execution.attempts": "how often a call is tried changes no answer",
    "execution.uses_cache": "kept answers are those that the tool gave",
    "execution.worker_memory_gib": "a tool without memory fails, and is called again",
    "tools.*.environment": "a key is no part of what a tool answers",
    "training.min_texts": "it only refuses to train on too few texts",
    "training.gradient_checkpointing": "it trades memory for time",
    "training.processes": "any number of processes trains the same model",
    "training.save_every": "it says what a killed run goes on from",
    "decoding.max_new_tokens": "of `toolformer complete`; benchmarks have lengths of their own",
    "runs.shards_per_run": "it divides work into runs",
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

"""`toolformer doctor --model`: load a model and compare it with plain transformers."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from dagster_project.commands import console
from dagster_project.commands.findings import Finding, show
from toolformer.forward.precision import scoring_precision
from toolformer.home.home import Home
from toolformer.home.progress import progress_of
from toolformer.home.wiring.model_holder import ModelHolder
from toolformer.home.wiring.models import base_model_directory
from toolformer.home.wiring.workspace import Workspace
from toolformer.settings.sections import Settings
from toolformer.settings.settings_file import load_settings

if TYPE_CHECKING:
    from toolformer.forward.language_model import LanguageModel

_LOGGER = logging.getLogger(__name__)
_EMBEDDED = "embedded"


def show_model(path: str, home: Home, *, as_json: bool) -> bool:
    """Load a model and print its findings; return whether it agrees with plain transformers."""
    if path != _EMBEDDED:
        path = str(Path(path).expanduser().absolute())
    settings = load_settings(home.settings_file, overrides={"language_model": {"path": path}})
    holder = ModelHolder()
    directory = base_model_directory(Workspace(settings, home, holder))
    try:
        with console.progress_bars():
            model = holder.load(directory, settings.language_model, home)
            compared = progress_of("comparing with plain transformers", _LOGGER)
            findings = [*_what_it_is(model), *_costs(model, directory, settings), _agreement(model)]
            compared(1, 1)
    finally:
        holder.release()
    show(findings, as_json=as_json)
    faults = findings[-1]
    if faults.status != "ok":
        console.error(f"{directory} differs from plain transformers: {faults.detail}.")
    return faults.status == "ok"


def _what_it_is(model: "LanguageModel") -> Iterator[Finding]:
    from toolformer.forward.attention_masks import attention_window

    kind = type(model.model).__name__
    yield Finding(
        "model", "ok", f"{kind}, {model.model.num_parameters() / 1e6:,.1f} million weights"
    )
    if model.is_plain:
        detail = "the plain path: one row per context and continuation"
        remedy = "Annotation is several times slower; see docs/how-to/models.md"
        yield Finding("served by", "warning", detail, remedy)
    else:
        yield Finding("served by", "ok", "shared keys: a text is read once for all continuations")
    start = repr(model.tokenizer.token_text(model.bos_id))
    where = "all texts and prompts" if model.prompt_start else "all texts except prompts"
    yield Finding("start token", "ok", f"{start} before {where}")
    window = attention_window(model.text_config)
    seen = f"; some layers attend to {window:,} at a time" if window else ""
    yield Finding("context", "ok", f"{model.context_length:,} tokens{seen}")
    yield Finding("precision", "ok", f"{model.precision} on {model.device}")


def _costs(model: "LanguageModel", directory: Path, settings: Settings) -> Iterator[Finding]:
    from toolformer.forward.memory import GIB, memory_needed, total_memory

    training = settings.training
    needed = memory_needed(
        directory,
        precision=scoring_precision(str(model.device)) or model.precision,
        lora_rank=training.lora_rank,
        micro_batch_tokens=training.micro_batch_tokens,
        gradient_checkpointing=training.gradient_checkpointing,
    )
    there = total_memory(str(model.device))
    remedies = {
        "annotate": (
            needed.annotating,
            "Use a smaller model, a GPU with language_model.precision float16 or bfloat16, or a "
            "server (language_model.server)",
        ),
        "train": (
            needed.training,
            "Set training.lora_rank, a smaller training.micro_batch_tokens or "
            "training.gradient_checkpointing",
        ),
    }
    for work, (size, remedy) in remedies.items():
        detail = f"about {size / GIB:.1f} GiB"
        if there is not None:
            detail += f" of {there / GIB:.1f}"
        if there is None or size <= there:
            yield Finding(f"memory to {work}", "ok", detail)
        else:
            yield Finding(f"memory to {work}", "warning", detail, remedy)


def _agreement(model: "LanguageModel") -> Finding:
    from toolformer.model_check import TOLERANCES, check_model, faults

    check = check_model(model)
    tolerance = TOLERANCES[model.precision]
    name = "plain transformers"
    if found := faults(check, tolerance):
        detail = f"differences above the tolerance of {tolerance:g}: {', '.join(found)}"
        return Finding(
            name, "missing", detail, "Use another model, or report the difference as a bug"
        )
    said = ", ".join(f"{each.replace('_', ' ')} {value:.1g}" for each, value in check.items())
    return Finding(name, "ok", f"largest differences: {said}")

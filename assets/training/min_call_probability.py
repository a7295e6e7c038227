"""Calibrates how likely a call must be for a finetuned model to open it, on development texts.

The paper has no such threshold: only its k decides whether a call opens (§4.2).
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg

from assets.inputs import Expected, Input, fingerprints_of, partition_inputs
from assets.outputs import DONE
from assets.run import Run
from assets.stage import PER_VARIANT, TOOL_VERSIONS, FingerprintPart, Stage, always
from assets.stage_asset import asset_of
from assets.training.development_texts import development_texts
from assets.training.finetuned_model import ModelOutput
from assets.training.opening_gains import measure_openings
from assets.training.planned_training import stored_training_set
from toolformer.base.atomic_files import write_atomically
from toolformer.base.model_files import MIN_CALL_PROBABILITY_FILE
from toolformer.decoding.calibration import (
    CalibratedProbability,
    choose_min_call_probability,
    min_call_probability_text,
    read_min_call_probability,
    too_few_texts_reason,
)
from toolformer.errors import ToolformerError
from toolformer.forward.tokenization import load_tokenizer
from toolformer.home.fingerprints import PARTS
from toolformer.home.wiring.models import evaluated_model, name_of_variant
from toolformer.settings.sections import Settings
from toolformer.settings.training_sections import PLAIN
from tools.base import Tool
from tools.model_identity import chat_template_identity, model_identity
from warehouse.warehouse import Warehouse

_MODEL = "language_model"
MIN_CALL_PROBABILITY = Stage(
    name="min_call_probability",
    version="11",
    group="train",
    kinds=("pytorch", "python"),
    per=PER_VARIANT,
    reads=("finetuned_model", "training_set", "wikipedia_index", "passage_index"),
    reads_all=("documents",),
    settings=(
        "corpus.window_tokens",
        "corpus.max_windows_per_text",
        "scoring.window_tokens",
        "scoring.window_weights",
        "scoring.token_budget",
        "execution.deadline_seconds",
        "execution.max_result_tokens",
        "execution.leak_share",
        "decoding.call_top_k",
        "decoding.max_call_tokens",
        # Maximum length of a text with its context.
        "training.max_tokens",
        "training.chat_share",
        "training.development_share",
        "training.seed",
    ),
    parts=(
        FingerprintPart("training_set"),
        FingerprintPart("documents"),
        FingerprintPart(_MODEL, ("language_model.bos_token",)),
        FingerprintPart("chat_template"),
        TOOL_VERSIONS,
    ),
    needs_device=always,
)

WITHOUT_CALLS = "it was trained without calls, so it has none to open"
NO_TOOLS = "none of the tools can run here, so no call has a result"
KEPT = f"kept as it was: {NO_TOOLS}; the next run with tools measures again"
DONE_BUT_GIVEN_UP = (
    "done, but calls were given up after the tool failed many times in a row; the next run "
    "measures again"
)
_GIVEN_UP = "given_up_calls"


@dataclass(frozen=True, kw_only=True)
class Calibration(ModelOutput):
    """The file `min_call_probability.json` in the directory of a finetuned model."""

    tools: Mapping[str, Tool]

    def expected(self) -> Expected:
        store = self.run.warehouse
        texts = stored_training_set(store)
        excluded = stored_training_set(store, "training_exclusions")
        documents = _documents(store)
        settings = self.run.settings
        parts = {
            "training_set": [texts.fingerprint, excluded.fingerprint],
            "documents": fingerprints_of(documents),
            _MODEL: _model(self.directory, settings),
            "tool_versions": {name: tool.version for name, tool in self.tools.items()},
        }
        if settings.training.chat_share:
            parts["chat_template"] = chat_template_identity(self.directory)
        # Probabilities are computed in float32, so no precision is included.
        fingerprint = MIN_CALL_PROBABILITY.fingerprint(settings, parts)
        return Expected(fingerprint, (texts, excluded, *documents.values()))

    def stored(self) -> Mapping[str, str] | None:
        return _stored(self.directory)

    def make(self, expected: Expected) -> str:
        chosen, given_up = self._choose()
        if chosen.reason == NO_TOOLS and self.stored() is not None:
            return KEPT
        self.run.log.info(chosen.summary)
        expected.check_unchanged(self.expected())
        made_from = expected.fingerprint
        if given_up:
            # Mark the calibration as stale at once, so that the next run measures again.
            made_from = made_from.with_parts({_GIVEN_UP: given_up})
        stored = replace(chosen, made_from=made_from.metadata())
        write_atomically(
            self.directory / MIN_CALL_PROBABILITY_FILE, min_call_probability_text(stored)
        )
        self.write_card()
        return DONE_BUT_GIVEN_UP if given_up else DONE

    def _choose(self) -> tuple[CalibratedProbability, int]:
        """Return the calibration and the number of calls that were given up."""
        run = self.run
        k = run.settings.decoding.call_top_k
        if run.settings.training.variant == PLAIN:
            return CalibratedProbability(None, None, WITHOUT_CALLS, k, 0, 0), 0
        shards, tokenizer = sorted(_documents(run.warehouse)), load_tokenizer(self.directory)
        texts = development_texts(run, shards, tokenizer)
        with_calls = sum(bool(text.call_positions) for text in texts)
        without_calls = len(texts) - with_calls
        # Check this before the model is loaded.
        reason = too_few_texts_reason(with_calls=with_calls)
        reason = reason or (None if self.tools else NO_TOOLS)
        if reason is not None:
            return CalibratedProbability(None, None, reason, k, with_calls, without_calls), 0
        openings, given_up = measure_openings(
            texts,
            self.tools,
            partial(
                run.holder.load,
                self.directory,
                run.settings.language_model,
                run.home,
                precision="float32",
            ),
            run,
            progress_of=partial(run.progress, "calibrating calls"),
        )
        num_kept = sum(len(text.call_positions) for text in texts)
        texts_by_tool = Counter(tool for text in texts for tool in {*text.call_positions.values()})
        num_positions = sum(offset is not None for text in texts for offset in text.window.offsets)
        chosen = choose_min_call_probability(
            openings,
            call_top_k=k,
            texts_with_calls=with_calls,
            texts_without_calls=without_calls,
            kept_places=num_kept,
            other_places=num_positions - num_kept,
            texts_by_tool=texts_by_tool,
        )
        return chosen, given_up


def _documents(store: Warehouse) -> dict[str, Input]:
    """Return the stored documents of the shards in the training set."""
    return partition_inputs(store, "documents", store.ask("training_shards")["shard"].to_list())


def is_calibrated(directory: Path, settings: Settings) -> bool:
    """Return whether the model has a calibration with these settings.

    Ignores the stored training set, which may belong to another round.
    """
    stored = json.loads((_stored(directory) or {}).get(PARTS, "{}"))
    needed = MIN_CALL_PROBABILITY.fingerprint(settings, {_MODEL: _model(directory, settings)}).parts
    return _GIVEN_UP not in stored and needed.items() <= stored.items()


def _model(directory: Path, settings: Settings) -> list[str | None]:
    return [model_identity(directory), settings.language_model.bos_token]


def _stored(directory: Path) -> Mapping[str, str] | None:
    """Return what the stored calibration was made from; None if no readable file exists."""
    try:
        stored = read_min_call_probability(directory)
    except ToolformerError:
        return None
    return stored and stored.made_from


@asset_of(MIN_CALL_PROBABILITY)
def min_call_probability(run: Run) -> dg.MaterializeResult:
    """How likely a call must be for a finetuned model to open it: `min_call_probability.json`.

    One partition = one variant of the model. Decoding uses these values if
    `decoding.min_call_probability` is null: one for the first token after a prompt, one for later
    tokens. A tool has its own values if at least eight development texts have its calls. The values
    are those with which the model's own calls gain most on development texts. After a prompt, the
    middle of all values within one standard error of the best is taken. The control `plain` has no
    values, and a model without values opens no calls.
    """
    variant = run.settings.training.variant
    model = evaluated_model(name_of_variant(variant), run)
    tools = {} if variant == PLAIN else run.open_toolbox().tools
    calibration = Calibration(run=run, directory=model.directory, tools=tools)
    state = calibration.ensure()
    chosen = read_min_call_probability(calibration.directory)
    assert chosen is not None
    return dg.MaterializeResult(
        data_version=calibration.data_version(),
        metadata={"state": state, "tools": ", ".join(tools) or "none", **_report(chosen)},
    )


def _report(chosen: CalibratedProbability) -> dict[str, Any]:
    values: dict[str, Any] = {"minimum call probability": "none", "reason": chosen.reason or ""}
    if chosen.values is not None:
        values = {
            "minimum call probability": chosen.values.in_text,
            "minimum call probability after a prompt": chosen.values.behind_prompt,
            **{
                f"minimum call probability of {tool}": f"{own.in_text:.4g}, after a prompt "
                f"{own.behind_prompt:.4g}; {own.texts_with_calls} texts with its calls"
                for tool, own in chosen.min_call_probability_by_tool.items()
            },
            "choice": chosen.summary,
            "kept positions": chosen.kept_places,
            "other positions": chosen.other_places,
            "openings measured": len(chosen.openings),
        }
    return {
        **values,
        "call_top_k": chosen.call_top_k,
        "texts with calls": chosen.texts_with_calls,
        "texts without calls": chosen.texts_without_calls,
    }

"""The calibration of a finetuned model as an output: the probability from which it opens calls."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from assets.inputs import Input, Wanted, fingerprints_of, look_at, slice_inputs
from assets.outputs import DONE
from assets.stage import TOOL_VERSION, Stage
from assets.training.development_texts import DevelopmentText, development_texts
from assets.training.model_output import ModelOutput
from assets.training.opening_gains import measure_openings
from toolformer.decoding.call_threshold import (
    CallThreshold,
    call_threshold_text,
    choose_call_threshold,
    read_call_threshold,
    why_too_few,
)
from toolformer.errors import ToolformerError
from toolformer.forward.tokenization import load_tokenizer
from toolformer.ground.beside_models import CALL_THRESHOLD_FILE
from toolformer.ground.whole_files import write_whole
from toolformer.training.variants import PLAIN
from tools.base import Tool
from tools.model_identity import model_identity
from warehouse.schema import ALL
from warehouse.warehouse import Warehouse

CALL_THRESHOLD = Stage(
    name="call_threshold",
    version="4",
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
        # As long may a text be with its context.
        "training.max_tokens",
        "training.development_share",
        "training.seed",
    ),
    settings_of_parts=("language_model.bos_token", "tools.*.is_enabled", *TOOL_VERSION.settings),
)

WITHOUT_CALLS = "it was trained without calls, so it has none to open"
NO_TOOLS = "none of the tools can run here, so no call has a result"
DONE_BUT_GIVEN_UP = (
    "done, but calls were given up: the tool had no answer to many in a row; the next run measures "
    "again"
)


@dataclass(frozen=True, kw_only=True)
class Calibration(ModelOutput):
    """`call_threshold.json` in the directory of a finetuned model.

    Attributes:
        tools: that may be called, by name.
    """

    tools: Mapping[str, Tool]

    def wanted(self) -> Wanted:
        """See `Output.wanted`."""
        training_set, documents = _training_set(self.run.warehouse), _documents(self.run.warehouse)
        model = [model_identity(self.directory), self.run.settings.language_model.bos_token]
        return Wanted(
            # The probabilities are of float32.
            CALL_THRESHOLD.fingerprint(
                self.run.settings,
                {
                    "training_set": [each.fingerprint for each in training_set],
                    "documents": fingerprints_of(documents),
                    "language_model": model,
                    "tool_versions": {name: tool.version for name, tool in self.tools.items()},
                },
            ),
            (*training_set, *documents.values()),
        )

    def stored(self) -> Mapping[str, str] | None:
        """See `Output.stored`."""
        return _stored(self.bring_directory())

    def make(self, wanted: Wanted) -> str:
        """See `Output.make`."""
        chosen, given_up = self._choose()
        self.run.log.info(chosen.told)
        wanted.check_unchanged(self.wanted())
        made_from = wanted.fingerprint
        if given_up:
            # Out of date at once, so that the next run measures again.
            made_from = made_from.with_part("given_up_calls", given_up)
        stored = replace(chosen, made_from=made_from.metadata())
        write_whole(self.directory / CALL_THRESHOLD_FILE, call_threshold_text(stored))
        self.write_card()
        self.publish_directory()
        return DONE_BUT_GIVEN_UP if given_up else DONE

    def _choose(self) -> tuple[CallThreshold, int]:
        """The choice, and how many calls were given up on the way."""
        k = self.run.settings.decoding.call_top_k
        if self.run.settings.training.variant == PLAIN:
            return CallThreshold(None, WITHOUT_CALLS, k, 0, 0), 0
        shards, tokenizer = sorted(_documents(self.run.warehouse)), load_tokenizer(self.directory)
        texts = development_texts(self.run, shards, tokenizer)
        # The model is not loaded for nothing.
        reason = _why_none(texts, self.tools)
        if reason is not None:
            with_calls = _with_calls(texts)
            return CallThreshold(None, reason, k, with_calls, len(texts) - with_calls), 0
        measured = measure_openings(
            texts,
            self.tools,
            partial(self.run.load_model, self.directory, precision="float32"),
            self.run,
            progress_of=partial(self.run.progress, "calibrating calls"),
        )
        return choose_call_threshold(measured.texts, call_top_k=k), measured.given_up


def _training_set(store: Warehouse) -> list[Input]:
    """Its texts, and what was left out of it.

    Raises:
        ToolformerError: there is none.
    """
    found = [look_at(store, table, ALL, ALL) for table in ("training_texts", "training_exclusions")]
    there = [each for each in found if each is not None]
    if len(there) < len(found):
        raise ToolformerError("There is no training set yet. Materialise `training_set` first.")
    return there


def _documents(store: Warehouse) -> dict[str, Input]:
    """The documents of the shards that its texts come from, where they are still there."""
    return slice_inputs(store, "documents", store.ask("training_shards")["shard"].to_list())


def is_calibrated(directory: Path) -> bool:
    """Whether a choice is stored with the model of a directory, whatever it was made from.

    What it would be made from now is not known while the training set of another round is stored.
    """
    return _stored(directory) is not None


def _stored(directory: Path) -> Mapping[str, str] | None:
    """What the stored choice was made from; None where there is none that can be read."""
    try:
        stored = read_call_threshold(directory)
    except ToolformerError:
        return None
    return stored and stored.made_from


def _why_none(texts: Sequence[DevelopmentText], tools: Mapping[str, Tool]) -> str | None:
    """Why nothing can be chosen, as far as that is known before anything is measured."""
    with_calls = _with_calls(texts)
    few = why_too_few(with_calls=with_calls, without_calls=len(texts) - with_calls)
    return few or (None if tools else NO_TOOLS)


def _with_calls(texts: Sequence[DevelopmentText]) -> int:
    return sum(bool(text.call_positions) for text in texts)

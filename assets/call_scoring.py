"""Scoring the calls of one shard: its texts are read once, and every pass is counted.

Does not choose what is scored and stores no losses.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from assets.shard_stage import ShardStage
from assets.shard_texts import documents_of, windows_of
from assets.stage_costs import store_cost
from dagster_project.resources.language_model import LanguageModelResource
from dagster_project.wiring.annotator import Annotator
from toolformer.calls import CallFormat
from toolformer.filtering import CallLosses
from toolformer.forward.checkpoint import Checkpoint
from toolformer.forward.windows import Window
from toolformer.losses import ScoredCall, TextLosses, WindowKey, score_calls
from toolformer.rescoring import TextLossesWithExactStart, score_again, start_token_losses

if TYPE_CHECKING:
    from toolformer.forward.language_model import LanguageModel


def call_format(stage: ShardStage) -> CallFormat:
    """How calls are written in front of a text."""
    scoring = stage.settings.scoring
    return CallFormat(
        empty_result_keeps_arrow=scoring.empty_result_keeps_arrow, separator=scoring.separator
    )


class CallScoring:
    """Scores calls of one shard; texts are scored without calls once for all tools."""

    def __init__(
        self,
        stage: ShardStage,
        annotator: Annotator,
        language_model: LanguageModelResource,
        shard: str,
    ):
        self.stage = stage
        self.shard = shard
        self._annotator = annotator
        self._holder = language_model.holder()

    @cached_property
    def model(self) -> "LanguageModel":
        """The scoring model, loaded at first use."""
        return self._annotator.load(self._holder, self.stage.settings, self.stage.home)

    @cached_property
    def windows(self) -> Mapping[WindowKey, Window]:
        """The windows of the shard by document and number."""
        return {
            (window.document_id, window.index): window
            for window in windows_of(
                documents_of(self.stage, self.shard),
                self.model.tokenizer,
                window_tokens=self.stage.settings.corpus.window_tokens,
            )
        }

    @cached_property
    def _text_losses(self) -> TextLosses:
        scoring, windows = self.stage.settings.scoring, list(self.windows.values())
        if self.model.precision != "bfloat16" or not scoring.rescoring:
            return TextLosses(self.model, windows, token_budget=scoring.token_budget)
        return TextLossesWithExactStart(
            self.model,
            windows,
            token_budget=scoring.token_budget,
            start_losses=start_token_losses(self.reference),
        )

    @property
    def reference(self) -> "LanguageModel":
        """The same model in float32, kept beside it until it is dropped."""
        return self._annotator.load_reference(self._holder, self.stage.settings, self.stage.home)

    def score(
        self,
        tool_name: str,
        calls: Sequence[ScoredCall],
        *,
        stage_name: str,
        pruning_threshold: float,
        full_losses: bool,
        checkpoint: Checkpoint,
    ) -> dict[str, CallLosses]:
        """Losses of calls of one tool; the cost is stored under the name of the stage."""
        windows, text_losses = self.windows, self._text_losses
        return self._counted(
            tool_name,
            stage_name,
            calls,
            self.model,
            lambda: score_calls(
                self.model,
                windows,
                text_losses,
                calls,
                call_format=call_format(self.stage),
                pruning_threshold=pruning_threshold,
                full_losses=full_losses,
                token_budget=self.stage.settings.scoring.token_budget,
                checkpoint=checkpoint,
                progress=self._progress(stage_name, tool_name),
            ),
        )

    def score_in_float32(
        self,
        tool_name: str,
        calls: Sequence[ScoredCall],
        *,
        pruning_threshold: float,
        full_losses: bool,
        checkpoint: Checkpoint,
    ) -> dict[str, CallLosses]:
        """Losses of calls of one tool from the float32 copy of the model."""
        reference = self.reference
        windows = self.windows
        return self._counted(
            tool_name,
            "rescoring",
            calls,
            reference,
            lambda: score_again(
                reference,
                windows,
                calls,
                call_format=call_format(self.stage),
                pruning_threshold=pruning_threshold,
                full_losses=full_losses,
                token_budget=self.stage.settings.scoring.token_budget,
                checkpoint=checkpoint,
                progress=self._progress("rescoring", tool_name),
            ),
        )

    def _progress(self, stage_name: str, tool_name: str) -> Callable[[int, int], None]:
        return self.stage.progress(f"{self.shard}: {stage_name.replace('_', ' ')} {tool_name}")

    def _counted(
        self,
        tool_name: str,
        stage_name: str,
        calls: Sequence[ScoredCall],
        model: "LanguageModel",
        score: Callable[[], dict[str, CallLosses]],
    ) -> dict[str, CallLosses]:
        began, fed_before = time.monotonic(), model.tokens_fed
        losses = score()
        store_cost(
            self.stage,
            self.shard,
            tool_name,
            stage_name,
            candidates=len(calls),
            tokens_fed=model.tokens_fed - fed_before,
            seconds=time.monotonic() - began,
            model=model,
        )
        return losses

"""`toolformer prompts compare`: samples and filters the same few texts with several prompts.

It computes what the stages of a build compute, for some windows, and stores nothing.
"""

import dataclasses
import logging
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from assets.shard_texts import contexts_in, documents_in, windows_of
from dagster_project.commands import console
from dagster_project.commands.building import prepare
from dagster_project.commands.options import RunOptions
from dagster_project.runs.indexes import planned_indexes
from dagster_project.runs.run_job import dagster_instance
from toolformer.errors import ToolformerError
from toolformer.filtering import CallLosses, decide
from toolformer.forward.checkpoint import Checkpoint
from toolformer.forward.windows import Window
from toolformer.samples import SampledCall
from toolformer.scoring.losses import ScoredCall
from toolformer.scoring.shard_scoring import ShardScoring
from toolformer.sources.manifest import Manifest
from toolformer.training.augmented_text import TextKey
from toolformer_home.home import Home
from toolformer_home.progress import ProgressCallback, progress_of
from toolformer_home.settings.errors import SettingsError
from toolformer_home.settings.sections import Settings
from toolformer_home.wiring.annotator import Annotator
from toolformer_home.wiring.execution import answered_samples
from toolformer_home.wiring.model_holder import process_holder
from toolformer_home.wiring.sampling import sampled_calls
from toolformer_home.wiring.scoring import losses_wanted, scoring_parameters
from toolformer_home.wiring.toolbox import named_prompt, open_tool
from toolformer_home.wiring.warehouse import open_warehouse
from tools.base import Tool
from tools.prompting import fill_prompt
from tools.protocol import Document, ToolCall
from tools.registry import check_usable

if TYPE_CHECKING:
    from toolformer.forward.model import Model

OWN = "default"
"""What the command calls the prompt that a tool has without any setting."""
_LOGGER = logging.getLogger(__name__)


def compare_prompts(
    tool_name: str, prompts: Sequence[str], options: RunOptions, *, texts: int
) -> None:
    """Sample, execute and score calls with each prompt on the same texts, and print a table.

    Every call is also scored with the result of another one, where a build takes a tenth of them:
    of few texts a tenth would be a handful. So both shares are of the same calls, and scoring takes
    up to twice as long. Answers to equal calls are those that the home keeps, of earlier prompts
    too, so the seconds are mostly the model's.

    Args:
        prompts: `default`, `short`, or files.
        options: options of the command; `tools` names the tool.
        texts: how many windows of texts that the tool preselects, from the first shard that is not
            held out on.

    Raises:
        SettingsError: the settings leave the prompt out.
        UnknownToolError, ToolUnavailableError, PromptError: there is nothing to compare.
        RunFailedError: there is no corpus.
        ToolformerError: the tool preselects no text.
    """
    home = Home.find()
    settings = options.load_settings(home)
    if not settings.sampling.uses_prompt:
        raise SettingsError(
            "sampling.uses_prompt is false, so calls are sampled without a prompt and there is "
            "none to compare. Add --set sampling.uses_prompt=true, or --set sampling.round for a "
            "round that uses one."
        )
    tool = open_tool(settings, home, tool_name)
    read = {name: named_prompt(None if name == OWN else name, tool) for name in prompts}
    if not Manifest.load(home.sources).active_shards or planned_indexes(
        options.tools, settings, home
    ):
        with dagster_instance(home) as instance:
            prepare(options, home, settings, instance)
    check_usable(tool, tool_name)
    annotator = Annotator.of(settings, home)
    # Loaded before the seconds of the first prompt are counted.
    tokenizer = annotator.load(process_holder(), settings, home).tokenizer
    contexts: dict[TextKey, str] = {}
    preselected = islice(_preselected(tool, settings, home, contexts), texts)
    documents = {document.document_id: document for document in preselected}
    windows = windows_of(
        documents,
        tokenizer,
        window_tokens=settings.corpus.window_tokens,
        max_windows=settings.corpus.max_windows_per_text,
    )
    comparison = _Comparison(
        tool, settings, home, annotator, documents, contexts, list(islice(windows, texts))
    )
    if not comparison.windows:
        raise ToolformerError(
            f"{tool.name} preselects no text of the shards that are not held out, so there is "
            "nothing to compare prompts on. Add texts that it suits (`toolformer ingest`)."
        )
    with console.progress_bars():
        rows = [comparison.row(name, prompt) for name, prompt in read.items()]
    console.frame(pl.DataFrame(rows))
    few = f" (there are no {texts})" if len(comparison.windows) < texts else ""
    own = settings.tools.of(tool_name)
    console.say(
        f"{tool_name} on {len(comparison.windows)} texts{few}: k = {own.positions_per_text}, m = "
        f"{own.calls_per_position}, τ_f = {own.filtering_threshold:g}. Kept share: of the scored "
        "calls. Chance share: of the same calls with the results of others."
    )
    if settings.sampling.proposals == "calls" and tool.makes_proposals:
        console.say(
            "sampling.proposals is 'calls': where the tool can write the call itself the prompt "
            "only helps to choose the place, so prompts hardly differ. Compare with --set "
            "sampling.proposals=positions to see what they write."
        )


@dataclass(frozen=True, slots=True)
class _Comparison:
    """What is the same for all prompts: the windows of documents (by id) that are annotated."""

    tool: Tool
    settings: Settings
    home: Home
    annotator: Annotator
    documents: Mapping[str, Document]
    contexts: Mapping[TextKey, str]
    windows: Sequence[Window]

    def row(self, name: str, prompt: str) -> dict[str, Any]:
        """What one prompt comes to."""
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as scratch:
            samples = sampled_calls(
                self._model(),
                self.tool,
                prompt,
                self.documents,
                self.windows,
                self.settings,
                checkpoint=Checkpoint(Path(scratch) / "sampling", fingerprint=""),
                progress=self._progress(name, "sampling"),
            )
            candidates = [sample for sample in samples if sample.status == "parsed"]
            calls = self._executed(name, candidates)
            losses = self._losses(name, calls, Path(scratch))
        tool_settings, model = self.settings.tools.of(self.tool.name), self._model()
        decided = partial(
            decide,
            filtering_threshold=tool_settings.filtering_threshold,
            baseline=losses_wanted(self.settings).baseline,
        )
        contrast = tool_settings.contrast_threshold
        kept = sum(decided(loss, contrast_threshold=contrast).is_kept for loss in losses)
        swapped = [
            dataclasses.replace(loss, loss_with_result=loss.loss_with_swapped_result)
            for loss in losses
            if loss.loss_with_swapped_result is not None
        ]
        kept_by_chance = sum(decided(loss).is_kept for loss in swapped)
        return {
            "prompt": name,
            "prompt tokens": len(model.prompt_start)
            + len(model.tokenizer.encode(fill_prompt(prompt, ""))),
            "samples": len(samples),
            "candidates": len(candidates),
            "executed, scored": len(calls),
            "kept": kept,
            "kept per 1000 candidates": 1000 * kept / len(candidates) if candidates else None,
            "kept share": kept / len(calls) if calls else None,
            "chance share": kept_by_chance / len(swapped) if swapped else None,
            "seconds": round(time.monotonic() - began, 1),
        }

    def _executed(self, name: str, candidates: Sequence[SampledCall]) -> list[ScoredCall]:
        """The calls that have a result."""
        arguments = [sample.arguments or "" for sample in candidates]
        answers = answered_samples(
            self.tool,
            [
                (given, self.documents[sample.document_id], sample.character_offset)
                for given, sample in zip(arguments, candidates, strict=True)
            ],
            [True] * len(candidates),
            self.contexts,
            self._model().tokenizer,
            self.settings,
            self.home,
            progress=self._progress(name, "calling"),
        )
        return [
            ScoredCall(
                sample.call_id,
                (sample.document_id, sample.window_index),
                sample.position,
                ToolCall(self.tool.name, given),
                answer["result"],
            )
            for given, sample, answer in zip(arguments, candidates, answers, strict=True)
            if answer["result"] is not None
        ]

    def _losses(self, name: str, calls: Sequence[ScoredCall], scratch: Path) -> list[CallLosses]:
        """Losses of the calls, with their own results and with swapped ones."""
        # Another one for each prompt: what it reads once for all calls counts for each.
        scoring = ShardScoring(
            load_in=self._model,
            cut_windows=lambda _: self.windows,
            parameters=scoring_parameters(self.settings),
            wanted=dataclasses.replace(losses_wanted(self.settings), is_every_call_sampled=True),
            progress=lambda stage, _: self._progress(name, stage.replace("_", " ")),
        )
        scored = scoring.score(
            self.tool.name, calls, lambda stage, _: Checkpoint(scratch / stage, fingerprint="")
        )
        return [score.losses for score in scored.scores.values()]

    def _model(self, precision: str | None = None) -> "Model":
        # Asked anew each time: a tool may have taken the place of the model.
        return self.annotator.load(process_holder(), self.settings, self.home, precision=precision)

    def _progress(self, prompt: str, stage: str) -> ProgressCallback:
        return progress_of(f"{prompt}: {stage}", _LOGGER, detail=self.tool.name)


def _preselected(
    tool: Tool, settings: Settings, home: Home, contexts: dict[TextKey, str]
) -> Iterator[Document]:
    """The texts that are trained on and that the tool annotates; adds their shards' contexts."""
    warehouse = open_warehouse(home)
    for entry in Manifest.load(home.sources).annotated_shards:
        if not settings.is_annotated(entry.source, tool.name):
            continue
        contexts.update(contexts_in(warehouse, entry.key))
        for document in documents_in(warehouse, entry.key).values():
            if tool.preselect(document).is_selected:
                yield document

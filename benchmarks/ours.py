"""Wraps our engine in the two functions that the measurement calls."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.workload import SAMPLING, ToolWorkload, accept_arguments
from toolformer.filtering import CallLosses
from toolformer.forward.checkpoint import Checkpoint
from toolformer.forward.language_model import LanguageModel
from toolformer.forward.windows import Window
from toolformer.samples import SampledCall
from toolformer.sampling import sample_shard
from toolformer.scoring.call_scorer import ScoredCall
from toolformer.scoring.losses import scorer_for


def sample(
    model: LanguageModel, tool: ToolWorkload, documents: Sequence[Window]
) -> list[SampledCall]:
    with tempfile.TemporaryDirectory() as folder:
        return sample_shard(
            model,
            tool.prompt,
            documents,
            tool_name=tool.name,
            takes_arguments=True,
            parse_arguments=accept_arguments,
            tool=tool.settings,
            sampling=SAMPLING,
            window_tokens=max(len(document.ids) for document in documents),
            checkpoint=Checkpoint(Path(folder) / "sampling", fingerprint="benchmark"),
            progress=lambda _done, _total: None,
        )


def score(
    model: LanguageModel,
    tool: ToolWorkload,
    documents: Sequence[Window],
    calls: Sequence[ScoredCall],
    *,
    full_losses: bool = False,
) -> dict[str, CallLosses]:
    """Return the losses of the calls. The cost includes L(ε), which other tools would share."""
    windows = {(document.document_id, document.index): document for document in documents}
    scorer = scorer_for(model, windows, tool.scoring)
    with tempfile.TemporaryDirectory() as folder:
        return scorer.score(
            calls,
            exact={call.call_id for call in calls} if full_losses else set(),
            checkpoint=Checkpoint(Path(folder) / "scoring", fingerprint="benchmark"),
            progress=lambda _done, _total: None,
        )

"""Each reduction of our engine switched off alone, on a few documents.

A reduction that has no switch is taken out by composing public functions so that its work is done
again, or by leaving a function out; each ablation says how. Does not compare engines.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks import ours
from benchmarks.costs import Cost, measured
from benchmarks.machine import load_faster, machine, versions
from benchmarks.workload import (
    ToolWorkload,
    calls_to_score,
    candidates,
    default_documents_file,
    paper_workloads,
    quick_workloads,
    read_documents,
)
from dagster_project.commands import console
from dagster_project.home import Home
from toolformer.forward.batching import plan_batches
from toolformer.forward.embedded_model import ensure_embedded_model
from toolformer.forward.language_model import LanguageModel
from toolformer.forward.prefix_cache import compute_prompt_prefix
from toolformer.forward.windows import Window
from toolformer.loss_weights import TOKEN_WEIGHTS
from toolformer.losses import ScoredCall
from toolformer.text_losses import TextLosses, token_losses

# How many documents of each tool, and their tokens; minutes on two cores.
_DOCUMENTS = {"WikiSearch": (4, 256), "Calculator": (2, 128)}
_QUICK_DOCUMENTS = (2, 48)
# Repetitions of a text's reading that are timed where all of them would take too long.
_MOST_REPETITIONS = 5

Ablation = Callable[[], Cost]


class Ablations:
    """All ablations of one tool on the same documents and candidates.

    Attributes:
        calls: the candidates that are scored; sampling with everything on finds them.
    """

    def __init__(self, model: LanguageModel, tool: ToolWorkload, documents: Sequence[Window]):
        self._model = model
        self._tool = tool
        self._documents = documents
        self.calls: list[ScoredCall] = []
        # The first call of a kernel is slow. And the engine holds the prompt from here on, so that
        # no cost below has it, but where it is fed on purpose.
        ours.sample(model, replace(tool, positions_per_text=1, calls_per_position=1), documents[:1])

    def sampling(self) -> dict[str, Ablation]:
        """Everything on, then one thing off each."""
        return {
            "all on": self._sample,
            "prompt prefix shared": self._prefix_for_each_text,
            "one reading of a text for its positions": self._text_for_each_position,
            "one reading of a text for all samples": self._text_for_each_sample,
            "several documents at once": lambda: self._sample(windows_per_batch=1),
            "constrained sampling": lambda: self._sample(is_constrained=False),
        }

    def scoring(self) -> dict[str, Ablation]:
        """Everything on, then one thing off each."""
        return {
            "all on": self._score,
            "one pass per text for L(ε)": self._row_for_each_text_loss,
            "order and pruning": lambda: self._score(full_losses=True),
            "equal calls of a text in one row": self._row_for_each_call,
            "rows in batches": lambda: self._score(token_budget=1),
        }

    def _sample(self, **switches: Any) -> Cost:
        samples, cost = measured(
            self._model,
            lambda: ours.sample(self._model, self._tool, self._documents, **switches),
        )
        if not switches:
            self.calls = calls_to_score(self._tool, samples, self._model.tokenizer)
        return self._counted(cost, len(candidates(samples)))

    def _prefix_for_each_text(self) -> Cost:
        """The prompt is fed with every text; the engine has its keys from the first time on."""

        def feed_prompts() -> None:
            for _ in self._documents:
                compute_prompt_prefix(self._model, self._tool.prompt)

        _, again = measured(self._model, feed_prompts)
        return self._sample() + again

    def _text_for_each_position(self) -> Cost:
        """One position, k times: a literal engine would even do it for all n positions."""
        return self._repeated(
            replace(self._tool, positions_per_text=1), self._tool.positions_per_text
        )

    def _text_for_each_sample(self) -> Cost:
        """One position with one sample, k · m times; the prompt stays shared."""
        tool = replace(self._tool, positions_per_text=1, calls_per_position=1)
        count = self._tool.positions_per_text * self._tool.calls_per_position
        return self._repeated(tool, count)

    def _repeated(self, tool: ToolWorkload, count: int) -> Cost:
        prefix = compute_prompt_prefix(self._model, tool.prompt)
        timed = min(count, _MOST_REPETITIONS)
        total = Cost()
        for _ in range(timed):
            samples, cost = measured(
                self._model, lambda: ours.sample_again(self._model, prefix, tool, self._documents)
            )
            cost = replace(cost, candidates=len(candidates(samples)))
            total += cost.scaled(count / timed)
        return replace(total, documents=len(self._documents))

    def _score(self, **switches: Any) -> Cost:
        _, cost = measured(
            self._model,
            lambda: ours.score(self._model, self._tool, self._documents, self.calls, **switches),
        )
        return self._counted(cost, len(self.calls))

    def _row_for_each_text_loss(self) -> Cost:
        """The pass over the texts is taken out, and one row `[BOS] + x[:p+5]` per call put in."""
        ids = {(window.document_id, window.index): window.ids for window in self._documents}
        rows = [ids[call.window][: call.position + len(TOKEN_WEIGHTS)] for call in self.calls]

        def read_texts() -> None:
            text_losses = TextLosses(self._model, self._documents)
            for window in ids:
                text_losses.token_losses(window)

        def read_rows() -> None:
            lengths = [len(row) + 1 for row in rows]
            budget = ours.batch_tokens(self._model, self._documents)
            for batch in plan_batches(lengths, token_budget=budget):
                token_losses(self._model, [rows[index] for index in batch])

        _, once = measured(self._model, read_texts)
        _, for_each = measured(self._model, read_rows)
        return self._score() + once.scaled(-1) + for_each

    def _row_for_each_call(self) -> Cost:
        """Calls in rounds, in each of which a call of a text occurs once."""
        rounds: list[list[ScoredCall]] = []
        seen: dict[Any, int] = {}
        for call in self.calls:
            key = (call.window, call.call)
            seen[key] = seen.get(key, -1) + 1
            if seen[key] == len(rounds):
                rounds.append([])
            rounds[seen[key]].append(call)

        def score_rounds() -> None:
            shared = TextLosses(self._model, self._documents)
            for calls in rounds:
                ours.score(self._model, self._tool, self._documents, calls, text_losses=shared)

        _, cost = measured(self._model, score_rounds)
        return self._counted(cost, len(self.calls))

    def _counted(self, cost: Cost, candidate_count: int) -> Cost:
        return replace(cost, documents=len(self._documents), candidates=candidate_count)


def run_ablations(
    model_path: Path | None,
    documents_file: Path | None,
    *,
    quick: bool,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Measure all ablations, print them, and return what `--json` holds.

    Args:
        model_path: a model directory; None for the embedded one.
        documents_file: JSON lines; None for the default.
        quick: two documents of 48 tokens.
        say: told what is measured.
    """
    path = model_path or ensure_embedded_model(Home.find().converted_models)
    file = documents_file or default_documents_file()
    rows: list[dict[str, Any]] = []
    for tool in quick_workloads() if quick else paper_workloads():
        rows += _of_tool(path, file, tool, quick=quick, say=say)
        k, m = tool.positions_per_text, tool.calls_per_position
        console.heading(f"{tool.name}, k={k}, m={m}: each reduction switched off alone")
        console.frame(pl.DataFrame([row for row in rows if row["tool"] == tool.name]))
    return {"machine": machine(), "versions": versions(), "quick": quick, "ablations": rows}


def _of_tool(
    path: Path, file: Path, tool: ToolWorkload, *, quick: bool, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    model = load_faster(path)
    count, tokens = _QUICK_DOCUMENTS if quick else _DOCUMENTS[tool.name]
    documents = read_documents(file, model.tokenizer, count=count, document_tokens=tokens)
    ablations = Ablations(model, tool, documents)
    costs: dict[tuple[str, str], Cost] = {}
    for stage, of_stage in (("sampling", ablations.sampling()), ("scoring", ablations.scoring())):
        for name, measure in of_stage.items():
            costs[stage, name] = measure()
            say(f"{tool.name}, {stage}, {name}: {costs[stage, name].seconds:.1f} s")
    calls = ablations.calls
    for name, other in _other_models(path, model):
        once_more = Ablations(other, tool, documents)
        costs["sampling", name] = once_more.sampling()["all on"]()
        # The same candidates: another precision samples others.
        once_more.calls = calls
        costs["scoring", name] = once_more.scoring()["all on"]()
        say(f"{tool.name}, {name}: {costs['scoring', name].seconds:.1f} s")
    return [_row(tool, stage, name, cost, costs) for (stage, name), cost in costs.items()]


def _other_models(path: Path, model: LanguageModel) -> Iterator[tuple[str, LanguageModel]]:
    if model.precision != "float32":
        yield model.precision, LanguageModel.load(path, precision="float32")


def _row(
    tool: ToolWorkload, stage: str, name: str, cost: Cost, costs: dict[tuple[str, str], Cost]
) -> dict[str, Any]:
    reference = costs[stage, "all on"]
    return {
        "tool": tool.name,
        "stage": stage,
        "switched off": "nothing" if name == "all on" else name,
        "n": cost.documents,
        "seconds": cost.seconds,
        "tokens fed": cost.tokens_fed,
        "candidates": cost.candidates,
        "tokens/candidate": cost.tokens_per_candidate,
        "time / all on": cost.seconds / reference.seconds,
        "tokens / all on": cost.tokens_fed / max(reference.tokens_fed, 1),
    }

"""Tables and the JSON of the engine measurement, from its costs. Does not measure."""

from typing import Any

import polars as pl

from benchmarks.agreement import Agreement
from benchmarks.costs import Cost
from benchmarks.schedule import (
    BATCHED,
    LITERAL,
    OURS,
    OURS_ALL,
    OURS_FOR_LITERAL,
    SORTED,
    ToolCosts,
)

_NAMES = {
    LITERAL: "(a) literal",
    BATCHED: "(b) batched literal",
    SORTED: "(b') batched literal, sorted",
    OURS: "(c) ours",
    OURS_FOR_LITERAL: "(c) ours",
    OURS_ALL: "(c) ours, all documents",
}
# Each engine and ours on the same documents.
_COUNTERPART = {LITERAL: OURS_FOR_LITERAL, BATCHED: OURS, SORTED: OURS}


class Peak:
    """How many floating-point operations the machine does a second, and a model needs a token."""

    def __init__(self, peak: float, body_parameters: int, output_parameters: int):
        self.peak = peak
        self._parameters = (body_parameters, output_parameters)

    def share(self, cost: Cost) -> float:
        """Useful operations of a scoring cost as a share of the peak."""
        return cost.multiplications(*self._parameters) / max(cost.seconds, 1e-9) / self.peak


def ratio(numerator: Cost, denominator: Cost) -> float:
    """Seconds a document of one engine over those of another."""
    return _per_document(numerator.seconds, numerator) / max(
        _per_document(denominator.seconds, denominator), 1e-12
    )


def token_ratio(numerator: Cost, denominator: Cost) -> float:
    """Token positions a document of one engine over those of another."""
    return _per_document(numerator.tokens_fed, numerator) / max(
        _per_document(denominator.tokens_fed, denominator), 1e-12
    )


def _per_document(value: float, cost: Cost) -> float:
    return value / max(cost.documents, 1)


def tool_figures(costs: ToolCosts, agreement: Agreement, peak: Peak) -> dict[str, Any]:
    """What `--json` holds for one tool."""
    sampling, scoring = costs.sampling, costs.scoring

    def whole(name: str, scored_by: str | None = None) -> Cost:
        # The same documents pass both stages.
        both = sampling[name] + scoring[scored_by or name]
        return Cost(both.documents // 2, both.seconds, both.tokens_fed)

    return {
        "positions_per_text": costs.tool.positions_per_text,
        "calls_per_position": costs.tool.calls_per_position,
        "documents": {
            "literal": sampling[LITERAL].documents,
            "batched": sampling[BATCHED].documents,
            "ours": sampling[OURS_ALL].documents,
        },
        "literal_share": costs.literal_share,
        "sampling": {
            "ratio_batched": ratio(sampling[BATCHED], sampling[OURS]),
            "ratio_literal": ratio(sampling[LITERAL], sampling[OURS_FOR_LITERAL]),
            "token_ratio_batched": token_ratio(sampling[BATCHED], sampling[OURS]),
            "tokens_per_candidate": sampling[OURS_ALL].tokens_per_candidate,
            "tokens_per_candidate_batched": sampling[BATCHED].tokens_per_candidate,
            "engines": _engines(sampling),
        },
        "scoring": {
            "ratio_batched": ratio(scoring[BATCHED], scoring[OURS]),
            "ratio_batched_sorted": ratio(scoring[SORTED], scoring[OURS]),
            "ratio_literal": ratio(scoring[LITERAL], scoring[OURS_FOR_LITERAL]),
            "token_ratio_batched": token_ratio(scoring[BATCHED], scoring[OURS]),
            "tokens_per_candidate": scoring[OURS_ALL].tokens_per_candidate,
            "tokens_per_candidate_batched": scoring[BATCHED].tokens_per_candidate,
            "gemm_share": peak.share(scoring[OURS_ALL]),
            "gemm_share_batched": peak.share(scoring[BATCHED]),
            "engines": _engines(scoring),
        },
        "whole": {
            "ratio_batched": ratio(whole(BATCHED), whole(OURS)),
            "ratio_batched_sorted": ratio(whole(BATCHED, SORTED), whole(OURS)),
            "ratio_literal": ratio(whole(LITERAL), whole(OURS_FOR_LITERAL)),
            "token_ratio_batched": token_ratio(whole(BATCHED), whole(OURS)),
        },
        "decisions_equal": agreement.decisions_equal,
        "max_loss_difference": agreement.max_loss_difference,
        "positions_equal": agreement.positions_equal,
        "max_probability_difference": agreement.max_probability_difference,
        "calls_compared": agreement.calls,
    }


def _engines(costs: dict[str, Cost]) -> dict[str, dict[str, float]]:
    return {
        name: {
            "documents": cost.documents,
            "seconds": cost.seconds,
            "tokens_fed": cost.tokens_fed,
            "candidates": cost.candidates,
            "peak_gib": cost.peak_gib,
        }
        for name, cost in costs.items()
    }


def stage_table(costs: dict[str, Cost], peak: Peak | None) -> pl.DataFrame:
    """One row per engine and set of documents.

    Args:
        costs: of one stage of one tool.
        peak: with it, a column with the share of the GEMM peak.
    """
    rows = []
    for name in (LITERAL, OURS_FOR_LITERAL, BATCHED, SORTED, OURS, OURS_ALL):
        if name not in costs:
            continue
        cost = costs[name]
        row = {
            "engine": _NAMES[name],
            "n": cost.documents,
            "seconds": cost.seconds,
            "s/document": _per_document(cost.seconds, cost),
            "tokens fed/document": _per_document(cost.tokens_fed, cost),
            "tokens/candidate": cost.tokens_per_candidate,
            "time / ours": _of_counterpart(ratio, costs, name),
            "tokens / ours": _of_counterpart(token_ratio, costs, name),
            "peak GiB": cost.peak_gib,
        }
        if peak is not None:
            row["share of GEMM peak"] = peak.share(cost)
        rows.append(row)
    return pl.DataFrame(rows)


def _of_counterpart(compare: Any, costs: dict[str, Cost], name: str) -> float | None:
    return compare(costs[name], costs[_COUNTERPART[name]]) if name in _COUNTERPART else None


def summary_table(tools: dict[str, dict[str, Any]]) -> pl.DataFrame:
    """One row per tool: the whole data side, and the agreement."""
    return pl.DataFrame(
        [
            {
                "tool": name,
                "n": figures["documents"]["batched"],
                "sampling (b)/(c)": figures["sampling"]["ratio_batched"],
                "scoring (b)/(c)": figures["scoring"]["ratio_batched"],
                "scoring (b')/(c)": figures["scoring"]["ratio_batched_sorted"],
                "both (b)/(c)": figures["whole"]["ratio_batched"],
                "both (b')/(c)": figures["whole"]["ratio_batched_sorted"],
                "positions equal": figures["positions_equal"],
                "max p difference": figures["max_probability_difference"],
                "decisions equal": figures["decisions_equal"],
                "max loss difference": figures["max_loss_difference"],
            }
            for name, figures in tools.items()
        ]
    )

"""Formats the costs of the engine measurement as tables and JSON."""

from dataclasses import asdict
from typing import Any

import polars as pl

from benchmarks.costs import Cost
from benchmarks.schedule import BATCHED, OURS, SORTED, ToolCosts

_NAMES = {BATCHED: "(a) batched literal", SORTED: "(a') batched literal, sorted", OURS: "(b) ours"}


def ratio(numerator: Cost, denominator: Cost) -> float:
    return numerator.seconds / max(denominator.seconds, 1e-12)


def token_ratio(numerator: Cost, denominator: Cost) -> float:
    return numerator.tokens_fed / max(denominator.tokens_fed, 1)


def tool_figures(costs: ToolCosts) -> dict[str, Any]:
    sampling, scoring = costs.sampling, costs.scoring
    ours = sampling[OURS] + scoring[OURS]
    batched = sampling[BATCHED] + scoring[BATCHED]
    return {
        "positions_per_text": costs.tool.positions_per_text,
        "calls_per_position": costs.tool.calls_per_position,
        "documents": sampling[OURS].documents,
        "sampling": _stage_figures(sampling),
        "scoring": {
            **_stage_figures(scoring),
            "ratio_batched_sorted": ratio(scoring[SORTED], scoring[OURS]),
        },
        "whole": {
            "ratio_batched": ratio(batched, ours),
            "ratio_batched_sorted": ratio(sampling[BATCHED] + scoring[SORTED], ours),
            "token_ratio_batched": token_ratio(batched, ours),
        },
    }


def _stage_figures(costs: dict[str, Cost]) -> dict[str, Any]:
    return {
        "ratio_batched": ratio(costs[BATCHED], costs[OURS]),
        "token_ratio_batched": token_ratio(costs[BATCHED], costs[OURS]),
        "tokens_per_candidate": costs[OURS].tokens_per_candidate,
        "tokens_per_candidate_batched": costs[BATCHED].tokens_per_candidate,
        "engines": {name: asdict(cost) for name, cost in costs.items()},
    }


def stage_table(costs: dict[str, Cost]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "engine": name,
                "n": costs[key].documents,
                "seconds": costs[key].seconds,
                "s/document": costs[key].seconds / costs[key].documents,
                "tokens fed/document": costs[key].tokens_fed / costs[key].documents,
                "tokens/candidate": costs[key].tokens_per_candidate,
                "time / ours": ratio(costs[key], costs[OURS]),
                "tokens / ours": token_ratio(costs[key], costs[OURS]),
            }
            for key, name in _NAMES.items()
            if key in costs
        ]
    )


def summary_table(tools: dict[str, dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "tool": name,
                "n": figures["documents"],
                "sampling (a)/(b)": figures["sampling"]["ratio_batched"],
                "scoring (a)/(b)": figures["scoring"]["ratio_batched"],
                "scoring (a')/(b)": figures["scoring"]["ratio_batched_sorted"],
                "both (a)/(b)": figures["whole"]["ratio_batched"],
                "both (a')/(b)": figures["whole"]["ratio_batched_sorted"],
            }
            for name, figures in tools.items()
        ]
    )

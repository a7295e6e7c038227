"""Generates random partitions for warehouses of any size.

The partitions have the real schema, constraints and counts, and shares similar to those of real
builds. Texts and calls are meaningless.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from warehouse.schema import ALL, table_schema

_TOOLS = ("Calculator", "Calendar", "QA", "WikiSearch", "MT")
# Each text repeats a word of one token, so positions of calls in its first two windows are known
# without a tokenizer.
_WORD, _WORDS, _WINDOW_TOKENS = " one", 600, 256
# Shares of the samples, similar to those of the runs in docs/results.md; _CHANCE is a number.
_PARSED, _EXECUTED, _KNOWN, _CHANCE = 0.7, 0.9, 0.6, 200
_THRESHOLD = 0.75
_POSITION = ("document_id", "window_index", "position")


def identifiers(generator: np.random.Generator, count: int) -> np.ndarray:
    return np.array([generator.bytes(16).hex() for _ in range(count)])


def shard_frames(
    generator: np.random.Generator,
    shard: str,
    documents: np.ndarray,
    per_partition: int,
    tools: Sequence[str] = _TOOLS,
) -> Iterator[tuple[str, str, pl.DataFrame]]:
    """Yield table, name and rows of each partition, with `per_partition` candidates per tool."""
    for table, name, frame in _drawn(generator, shard, documents, per_partition, tools):
        types = table_schema(table).polars_schema
        yield table, name, frame.cast({column: types[column] for column in frame.columns})


def _drawn(
    generator: np.random.Generator,
    shard: str,
    documents: np.ndarray,
    per_partition: int,
    tools: Sequence[str],
) -> Iterator[tuple[str, str, pl.DataFrame]]:
    texts = pl.DataFrame(
        {
            "document_id": documents,
            "shard": shard,
            "text": [f"{_WORD * _WORDS} {each}".strip() for each in documents],
            "source": "benchmark",
            "source_offset": np.arange(len(documents)),
        }
    )
    yield "documents", ALL, texts
    kept = []
    for tool in tools:
        of_tool = {"shard": shard, "tool": tool, "round": 1}
        yield (
            "document_selection",
            tool,
            pl.DataFrame(
                {"document_id": documents, "is_selected": True, "reason": "always", **of_tool}
            ),
        )
        of_calls = dict(_calls_of_tool(generator, of_tool, documents, per_partition))
        yield from ((table, tool, frame) for table, frame in of_calls.items())
        kept.append(_kept(of_calls))
        for stage in ("sampling", "execution", "scoring"):
            cost = {"stage": stage, "candidates": per_partition, "tokens_fed": per_partition * 60}
            frame = pl.DataFrame([{**of_tool, **cost, "seconds": per_partition / 50}])
            yield "stage_costs", f"{tool}.{stage}", frame
    yield "augmented_texts", ALL, _annotated(pl.concat(kept), texts)


def _kept(of_calls: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    written = of_calls["candidate_calls"].select("call_id", "character_offset", "arguments")
    answers = of_calls["executed_calls"].select("call_id", "result")
    of_call = ["call_id", "tool", *_POSITION, "loss_reduction"]
    kept = of_calls["filtered_calls"].filter("is_kept").select(of_call)
    return kept.join(written, on="call_id").join(answers, on="call_id")


def _annotated(kept: pl.DataFrame, texts: pl.DataFrame) -> pl.DataFrame:
    """Return C* of one shard; every window has the whole text."""
    calls: Any = table_schema("augmented_texts").polars_schema["calls"]
    fields = [name for name, _ in calls.inner]
    calls_per_position = kept.unique(_POSITION, keep="first", maintain_order=True).sort(_POSITION)
    windows = calls_per_position.group_by("document_id", "window_index", maintain_order=True).agg(
        calls=pl.struct(fields)
    )
    return windows.join(
        texts.select("document_id", "shard", "text"), on="document_id"
    ).with_columns(window_offset=0, round=1)


def _calls_of_tool(
    generator: np.random.Generator, of_tool: Mapping[str, object], documents: np.ndarray, count: int
) -> Iterator[tuple[str, pl.DataFrame]]:
    ids = identifiers(generator, count)
    parsed = generator.random(count) < _PARSED
    arguments = np.char.add(generator.integers(1, 2000, count).astype(str), " * 7")
    position = generator.integers(1, _WINDOW_TOKENS, count)
    window_index = generator.integers(0, 2, count)
    # The text starts without the space of its first word.
    words_before = window_index * _WINDOW_TOKENS + position
    candidates = pl.DataFrame(
        {
            "call_id": ids,
            "document_id": np.sort(documents[generator.integers(0, len(documents), count)]),
            "window_index": window_index,
            "position": position,
            "character_offset": len(_WORD) * words_before - 1,
            "call_probability": generator.random(count),
            "sample_index": 0,
            "arguments": arguments,
            "sample_text": np.char.add(arguments, ")]"),
            "status": np.where(parsed, "parsed", "dropped"),
            "proposed": "none",
            **of_tool,
        }
    ).with_columns(reason=pl.when(pl.col("status") == "dropped").then(pl.lit("duplicate")))
    yield "candidate_calls", candidates
    asked = candidates.filter(status="parsed")
    answered = generator.random(asked.height) < _EXECUTED
    executed = asked.select("call_id").with_columns(
        status=pl.Series(np.where(answered, "executed", "failed")),
        result=pl.Series(generator.integers(1, 5000, asked.height).astype(str)),
        duration_ms=pl.Series(generator.lognormal(1.0, 1.0, asked.height)),
        from_cache=pl.Series(generator.random(asked.height) < 0.1),
        peeks=pl.lit(False),
        tool_version=pl.lit("1"),
        **{name: pl.lit(value) for name, value in of_tool.items()},
    )
    is_failed = pl.col("status") == "failed"
    yield (
        "executed_calls",
        executed.with_columns(
            reason=pl.when(is_failed).then(pl.lit("division_by_zero")),
            result=pl.when(~is_failed).then("result"),
        ),
    )
    scored = asked.filter(pl.Series(answered))
    decisions = _decisions(generator, scored, of_tool)
    of_losses = table_schema("scored_calls").column_names
    yield "scored_calls", decisions.select(name for name in decisions.columns if name in of_losses)
    yield "filtered_calls", decisions


def _losses(generator: np.random.Generator, count: int, mean: float) -> list[pl.Series]:
    without, reduction = generator.gamma(4.0, 1.0, count), generator.normal(mean, 0.6, count)
    return [
        pl.Series("loss_without_call", without),
        pl.Series("loss_call_without_result", without + 0.1),
        pl.Series("loss_with_result", without - reduction),
        pl.Series("loss_reduction", without - (without - reduction)),
    ]


def _decisions(
    generator: np.random.Generator, calls: pl.DataFrame, of_tool: Mapping[str, object]
) -> pl.DataFrame:
    of_position = [
        name for name in _POSITION if name in table_schema("filtered_calls").column_names
    ]
    is_sampled = pl.int_range(pl.len()) < (_CHANCE if calls.height > 1 else 0)
    losses = calls.select("call_id", *of_position).with_columns(
        *_losses(generator, calls.height, -0.4)
    )
    frame = losses.with_columns(
        is_known=pl.Series(generator.random(calls.height) < _KNOWN),
        filtering_threshold=pl.lit(_THRESHOLD),
        lowest_threshold=pl.lit(0.0),
        baseline=pl.lit("minimum"),
        precision=pl.lit("float32"),
        proposed=pl.lit("none"),
        tokens_used=pl.lit(5),
        is_in_chance_sample=is_sampled,
        swapped_call_id=pl.when(is_sampled).then(pl.lit("another")),
        loss_with_swapped_result=pl.when(is_sampled).then(pl.col("loss_without_call")),
        chance_reduction=pl.when(is_sampled).then(pl.lit(0.0)),
        is_kept_by_chance=pl.when(is_sampled).then(pl.lit(value=False)),
        **{name: pl.lit(value) for name, value in of_tool.items()},
    )
    is_kept = pl.col("is_known") & (pl.col("loss_reduction") >= _THRESHOLD)
    return frame.with_columns(
        is_kept=is_kept,
        reason=pl.when(is_kept)
        .then(pl.lit("kept"))
        .when("is_known")
        .then(pl.lit("below_threshold"))
        .otherwise(pl.lit("loss_without_call_below_lowest_threshold")),
        loss_with_result=pl.when("is_known").then("loss_with_result"),
    ).drop("is_known")

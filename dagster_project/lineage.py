"""From which columns each column of a table is made, as far as other tables hold them.

Keys that tables hand on to each other are found in `schema.sql`; what else a column is made from
is declared here. Does not know the assets beyond their names.
"""

from collections.abc import Iterator, Mapping

import dagster as dg

from warehouse.schema import table_schema, view_name

# Assets that are called differently from the table with their rows.
_ASSETS = {"training_texts": "training_set", "score_intervals": "evaluation_report"}

# What a table is made from, the nearest first: of these, the first that has a key hands it on.
_MADE_FROM: Mapping[str, tuple[str, ...]] = {
    "documents": (),
    "candidate_calls": ("documents",),
    "executed_calls": ("candidate_calls",),
    "filtered_calls": ("executed_calls", "candidate_calls"),
    "augmented_texts": ("filtered_calls", "documents"),
    "training_texts": ("augmented_texts",),
    "evaluation_results": (),
    "score_intervals": ("evaluation_results",),
}
# These mean the same wherever they stand. Others do not: `reason` is each stage's own.
_KEYS = frozenset(
    {
        *("shard", "document_id", "context", "window", "position", "proposed"),
        *("call_id", "tool", "round"),
        *("benchmark", "model", "mode", "metric"),
    }
)

_LOSS = "documents.text candidate_calls.position"
_LOSS_OF_CALL = f"{_LOSS} candidate_calls.tool candidate_calls.arguments"
_LOSS_OF_RESULT = f"{_LOSS_OF_CALL} executed_calls.result"
_CALLS = (
    "filtered_calls.call_id filtered_calls.position filtered_calls.tool filtered_calls.is_kept "
    "filtered_calls.loss_reduction candidate_calls.character_offset candidate_calls.arguments "
    "executed_calls.result"
)
_SCORES = "evaluation_results.score evaluation_results.score_weight"
# By table and column: the columns that it is made from, where it is not handed on.
_DECLARED: Mapping[str, Mapping[str, str]] = {
    "documents": {"shard": "corpus_manifest.shard", "source": "corpus_manifest.source"},
    "candidate_calls": {
        "window": "documents.text",
        "position": "documents.text",
        "character_offset": "documents.text",
        "call_probability": "documents.text",
        "arguments": "documents.text",
        "sample_text": "documents.text",
        "proposed": "documents.text",
    },
    "executed_calls": {
        # A tool is given the text that its call stands in: MT's phrases, the date in the address.
        "result": "candidate_calls.tool candidate_calls.arguments documents.text documents.url "
        "documents.published_on",
        "repeated_before": "documents.text candidate_calls.character_offset",
        "repeated_after": "documents.text candidate_calls.character_offset",
    },
    "filtered_calls": {
        "loss_without_call": _LOSS,
        "loss_call_without_result": _LOSS_OF_CALL,
        "loss_with_result": _LOSS_OF_RESULT,
        "loss_with_foreign_result": _LOSS_OF_RESULT,
        "foreign_call_id": "executed_calls.call_id executed_calls.result",
        "loss_reduction": _LOSS_OF_RESULT,
        "is_kept": _LOSS_OF_RESULT,
        "reason": _LOSS_OF_RESULT,
    },
    "augmented_texts": {
        "text": "documents.text",
        "window_offset": "documents.text",
        "calls": _CALLS,
    },
    "training_texts": {
        # Windows without calls are drawn from the documents.
        "text": "augmented_texts.text documents.text",
        "calls": "augmented_texts.calls",
        "dropped_calls": _CALLS,
    },
    "evaluation_results": {
        # Of texts that perplexity is measured on.
        "item_id": "documents.document_id",
        "prompt": "documents.text",
        "score": "documents.text",
        "score_weight": "documents.text",
    },
    "score_intervals": {
        "items": "evaluation_results.item_id evaluation_results.score",
        "share_with_call": "evaluation_results.called_tool",
        "score": _SCORES,
        "low": _SCORES,
        "high": _SCORES,
    },
}


def sources_of(table: str) -> dict[str, list[dg.TableColumnDep]]:
    """By column, named as queries do: the columns that it is made from; others are left out.

    Args:
        table: name of a table of the warehouse.

    Raises:
        UnknownTableError: `schema.sql` defines no table of that name.

    Example:
        >>> [dep.column_name for dep in sources_of("score_intervals")["share_with_call"]]
        ['called_tool']
    """
    return {
        view_name(column): [
            dg.TableColumnDep(_ASSETS.get(of_table, of_table), view_name(name))
            for of_table, name in found
        ]
        for column in table_schema(table).column_names
        if (found := list(_sources(table, column)))
    }


def _sources(table: str, column: str) -> Iterator[tuple[str, str]]:
    """The columns that one is made from, each with its table."""
    declared = _DECLARED.get(table, {}).get(column)
    if declared is not None:
        for source in declared.split():
            of_table, _, name = source.partition(".")
            yield of_table, name
    elif column in _KEYS:
        for of_table in _MADE_FROM.get(table, ()):
            if column in table_schema(of_table).column_names:
                yield of_table, column
                return

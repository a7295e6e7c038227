"""`toolformer explain`: one call in its text, its losses token by token, and the decision."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dagster_project.commands import console
from dagster_project.commands.explanation import explanation_of, page_of_call
from dagster_project.commands.options import RunOptions
from dagster_project.commands.recomputation import CannotRecomputeError, recompute
from toolformer.errors import ToolformerError
from toolformer.files.whole_files import write_whole
from toolformer_home.home import Home
from toolformer_home.report.page import check_page
from toolformer_home.wiring.warehouse import open_warehouse
from warehouse.warehouse import Warehouse

# How many calls an error names where the beginning of an id fits several.
_NAMED = 5


def explain(
    call_id: str, options: RunOptions, *, with_model: bool, as_json: bool, output: Path | None
) -> None:
    """Print a call, as far as it came, and its losses token by token where it was scored.

    Args:
        call_id: enough of its beginning to tell it from others.
        with_model: compute the losses again.
        as_json: print the row of `explained_call.sql`, with `recomputation` (or null) and
            `not_recomputed`, the reason why not (or null), in place of tables.
        output: file of a page to write, in place of tables.

    Raises:
        ToolformerError: there is no such call, there are several, or the page cannot be written
            or something else is there.
    """
    if output is not None:
        check_page(output.expanduser())
    home = Home.find()
    warehouse = open_warehouse(home)
    call = find_call(warehouse, call_id)
    recomputation, why_not = None, "--no-model was given"
    if call["is_kept"] is None:
        why_not = "it has no losses"
    elif with_model:
        try:
            with console.progress_bars():
                recomputation, why_not = recompute(call, options, home), None
        except CannotRecomputeError as error:
            why_not = str(error)
    if output is not None:
        _write(output.expanduser(), page_of_call(call, recomputation, why_not))
    if as_json:
        tokens = recomputation and dataclasses.asdict(recomputation)
        console.document({**call, "recomputation": tokens, "not_recomputed": why_not})
    elif output is not None:
        console.say(f"Page: {output}")
    else:
        console.show(*explanation_of(call, recomputation))
        if why_not is not None and with_model and call["is_kept"] is not None:
            console.say(f"\nThe losses are not computed again. {why_not}")


def find_call(warehouse: Warehouse, beginning: str) -> Mapping[str, Any]:
    """The row of `explained_call.sql` of the call whose id begins with a text.

    Raises:
        ToolformerError: no call has such an id, or several have.
    """
    shards = dict(warehouse.ask("call_named", call_id=beginning).iter_rows())
    if not shards:
        # Looks at the ids of all calls.
        calls = warehouse.ask("calls_beginning", beginning=beginning, max_calls=_NAMED + 1)
        shards = dict(calls.iter_rows())
    if not shards:
        raise ToolformerError(_not_found(warehouse, beginning))
    if len(shards) > 1:
        more = ", …" if len(shards) > _NAMED else ""
        raise ToolformerError(
            f"The ids of several calls begin with {beginning!r}: "
            f"{', '.join(list(shards)[:_NAMED])}{more}. "
            "Give more characters of one, so that it is the only match."
        )
    [(call_id, shard)] = shards.items()
    # All that is stored of a call, results of other calls among it, is of its shard.
    return warehouse.ask("explained_call", shards={shard}, call_id=call_id).row(0, named=True)


def _not_found(warehouse: Warehouse, beginning: str) -> str:
    if warehouse.query("select call_id from candidate_calls limit 1").is_empty():
        return f"There is no call {beginning!r}: no calls were sampled yet. Run `toolformer build`."
    return (
        f"There is no call whose id begins with {beginning!r}. Expected an id of candidate_calls, "
        "or the beginning of one. This lists the kept calls, the most helpful first: toolformer "
        'sql "select call_id, tool, call from kept_examples limit 20"'
    )


def _write(file: Path, page: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, page, is_durable=False)
    except OSError as error:
        raise ToolformerError(
            f"Cannot write the page to {str(file)!r}: {error}. Expected a file in a folder that "
            "may be written; name another one with --output."
        ) from error

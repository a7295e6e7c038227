"""`toolformer explain`: one call in its text, its losses token by token, and the decision."""

import dataclasses

from dagster_project.commands import console
from dagster_project.commands.explanation import show_call
from dagster_project.commands.options import RunOptions
from dagster_project.commands.recomputation import CannotRecomputeError, recompute
from toolformer.home.reading import Home


def explain(call_id: str, options: RunOptions, *, with_model: bool, as_json: bool) -> None:
    """Print a call, as far as it came, and its losses token by token where it was scored.

    Args:
        call_id: enough of its beginning to tell it from others.
        with_model: compute the losses again.
        as_json: print the row of `explained_call.sql`, with `recomputation` (or null) and
            `not_recomputed`, the reason why not (or null), in place of tables.

    Raises:
        ToolformerError: there is no such call, or there are several.
    """
    home = Home()
    call = home.explain(call_id)
    recomputation, why_not = None, "--no-model was given"
    if call["is_kept"] is None:
        why_not = "it has no losses"
    elif with_model:
        try:
            with console.progress_bars():
                recomputation, why_not = recompute(call, options, home.places), None
        except CannotRecomputeError as error:
            why_not = str(error)
    if as_json:
        tokens = recomputation and dataclasses.asdict(recomputation)
        console.document({**call, "recomputation": tokens, "not_recomputed": why_not})
    else:
        show_call(call, recomputation)
        if why_not is not None and with_model and call["is_kept"] is not None:
            console.say(f"\nThe losses are not computed again. {why_not}")

"""`toolformer stats` and `tools list`: print what the views and the settings say.

Does not parse the command line.
"""

from typing import TYPE_CHECKING

from dagster_project import console
from dagster_project.commands.options import RunOptions, open_warehouse
from dagster_project.home import Home
from dagster_project.resources.toolbox import open_toolbox
from tools.registry import TOOL_NAMES
from warehouse.warehouse import Warehouse

if TYPE_CHECKING:
    import polars as pl


def show_statistics(*, examples: bool = True) -> None:
    """Print the statistics views; the round of annotation only where there are several."""
    warehouse = open_warehouse()
    console.heading("Calls by tool")
    console.frame(_readable(warehouse.query("select * from call_statistics order by round, tool")))
    console.heading("Kept calls by threshold")
    console.frame(
        _readable(
            warehouse.query(
                "select * from threshold_sweep order by round, tool, filtering_threshold"
            )
        )
    )
    if not examples:
        return
    console.heading("Dropped")
    console.frame(
        _readable(
            warehouse.query("select * from drop_reasons order by round, tool, stage, rows desc")
        )
    )
    show_examples(warehouse, per_tool=3)


def _readable(rows: "pl.DataFrame") -> "pl.DataFrame":
    return rows if rows["round"].n_unique() > 1 else rows.drop("round")


def show_examples(warehouse: Warehouse, *, per_tool: int) -> None:
    """Print the kept calls that help most, in their sentences."""
    console.heading("Kept calls, in their text")
    rows = warehouse.query(
        "select tool, loss_reduction, text_before, call, text_after, round from kept_examples "
        "qualify row_number() over ("
        "partition by round, tool order by loss_reduction desc, call_id) <= $n "
        "order by round, tool, loss_reduction desc",
        {"n": per_tool},
    )
    has_rounds = rows["round"].n_unique() > 1
    for row in rows.iter_rows(named=True):
        context = " ".join(f"{row['text_before']}⟦{row['call']}⟧{row['text_after']}".split())
        of_round = f"round {row['round']}  " if has_rounds else ""
        console.say(f"{of_round}{row['tool']}  {row['loss_reduction']:.2f}  … {context} …")


def list_tools() -> None:
    """Print the tools with their settings and whether they can run."""
    import polars as pl

    home = Home.find()
    settings = RunOptions().load_settings(home)
    toolbox = open_toolbox(settings, home)
    rows = []
    for name in TOOL_NAMES:
        of_tool = settings.tools.of(name)
        state = "available" if name in toolbox.tools else toolbox.unavailable.get(name, "disabled")
        rows.append(
            {
                "tool": name,
                "state": state,
                "τ_s": of_tool.sampling_threshold,
                "k": of_tool.positions_per_text,
                "m": of_tool.calls_per_position,
                "τ_f": of_tool.filtering_threshold,
                "prompt": of_tool.prompt or "built in",
            }
        )
    console.frame(pl.DataFrame(rows))

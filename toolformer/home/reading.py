"""A home in Python, for reading: its rows as Polars frames, its calls, its model and tools."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolformer.errors import ToolformerError
from toolformer.home import home as places
from toolformer.home.lost_shards import log_lost_shards
from warehouse.warehouse import Warehouse

if TYPE_CHECKING:
    import polars as pl

    from toolformer.home.wiring.workspace import Workspace
    from tools.base import Tool

# How many calls an error names where the beginning of an id fits several.
_NAMED = 5


class Home:
    """A home, for reading. Nothing in it is changed, and a build may run meanwhile.

    Each question is answered from what is stored at that moment.

    Args:
        path: Folder of the home; by default the one that TOOLFORMER_HOME names.

    Raises:
        SettingsError: There is no home, or it has a name that databases cannot open.
        LayoutError: Its rows were written with another layout.
    """

    def __init__(self, path: str | Path | None = None):
        if path is None:
            self.paths = places.Home.find()
        else:
            self.paths = places.Home(places.resolved(str(path)))
            places.check_path("The home", self.paths.root)
        self.paths.check_exists()
        self.warehouse = Warehouse(self.paths.warehouse, self.paths.database)
        log_lost_shards(self.paths)

    @property
    def model(self) -> Path:
        """Folder of the model that the settings finetune, trained or not; for `complete`."""
        from toolformer.home.wiring.models import finetuned_model_directory

        return finetuned_model_directory(self._workspace)

    @cached_property
    def tools(self) -> "list[Tool]":
        """The tools that the settings enable and that can run here; for `complete`.

        Raises:
            ToolSettingsError: The settings of a tool cannot be used.
        """
        from toolformer.home.wiring.toolbox import open_toolbox

        return list(open_toolbox(self._workspace, while_decoding=True).tools.values())

    @cached_property
    def _workspace(self) -> "Workspace":
        from toolformer.home.wiring.workspace import Workspace
        from toolformer.settings.settings_file import load_settings

        return Workspace(load_settings(self.paths.settings_file), self.paths)

    def sql(self, query: str) -> "pl.DataFrame":
        """Returns the rows of one `select` over tables and views; see `run_query` for errors."""
        return self.warehouse.skipping_damage().query(query)

    def kept_calls(self) -> "pl.DataFrame":
        """Returns the kept calls, the most helpful first, with the columns of `all_calls`."""
        return self.sql("from all_calls where is_kept order by loss_reduction desc, call_id")

    def explain(self, call_id: str) -> Mapping[str, Any]:
        """Returns all that is stored of one sampled call; see `explained_call.sql`.

        Args:
            call_id: Enough of its beginning to tell it from others.

        Raises:
            ToolformerError: There is no such call, or there are several.
        """
        may_have_it = self.warehouse.ask("shards_with_calls", beginning=call_id)["shard"]
        near = self.warehouse.limited_to(may_have_it.to_list())
        # Where it is said to be, digests are compared before anything is told of it.
        named = near.ask("call_named", verifies_digests=False, call_id=call_id)
        shards = dict(named.iter_rows())
        if not shards:
            # Looks at the ids of all calls of these shards.
            calls = near.ask(
                "calls_beginning", verifies_digests=False, beginning=call_id, max_calls=_NAMED + 1
            )
            shards = dict(calls.iter_rows())
        if not shards:
            raise ToolformerError(self._not_found(call_id))
        if len(shards) > 1:
            more = ", …" if len(shards) > _NAMED else ""
            raise ToolformerError(
                f"The ids of several calls begin with {call_id!r}: "
                f"{', '.join(list(shards)[:_NAMED])}{more}. "
                "Give more characters of one, so that it is the only match."
            )
        [(found, shard)] = shards.items()
        # All that is stored of a call, results of other calls among it, is of its shard.
        return self.warehouse.ask("explained_call", shards={shard}, call_id=found).row(
            0, named=True
        )

    def _not_found(self, beginning: str) -> str:
        if self.sql("from candidate_counts limit 1").is_empty():
            return f"There is no call {beginning!r}: none was sampled yet. Run `toolformer build`."
        return (
            f"There is no call whose id begins with {beginning!r}. Expected an id of "
            "candidate_calls, or the beginning of one. This lists the kept calls, the most helpful "
            'first: toolformer sql "select call_id, tool, call from kept_examples limit 20"'
        )

"""The Python interface for reading a home: rows as Polars frames, calls, model and tools."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolformer.errors import ToolformerError
from toolformer.home import home as homes
from toolformer.home.lost_shards import log_lost_shards
from warehouse.warehouse import Warehouse

if TYPE_CHECKING:
    import polars as pl

    from toolformer.home.wiring.workspace import Workspace
    from tools.base import Tool

# Maximum number of calls that the error for an ambiguous id names.
_MAX_NAMED = 5


class Home:
    """A home opened for reading; a build may run at the same time.

    Each method reads what is stored when it is called. Without a path, `TOOLFORMER_HOME` is opened.

    Raises:
        SettingsError: There is no home, or databases cannot open its path.
        LayoutError: The tables were written by a version with another layout.
    """

    def __init__(self, path: str | Path | None = None):
        if path is None:
            self.paths = homes.Home.find()
        else:
            self.paths = homes.Home(homes.resolved(str(path)))
            homes.check_path("The home", self.paths.root)
        self.paths.check_exists()
        self.warehouse = Warehouse(self.paths.warehouse, self.paths.database)
        log_lost_shards(self.paths)

    @property
    def model(self) -> Path:
        """Folder of the finetuned model, for `complete`; it may not be trained yet."""
        from toolformer.home.wiring.models import finetuned_model_directory

        return finetuned_model_directory(self._workspace)

    @cached_property
    def tools(self) -> "list[Tool]":
        """Enabled tools that can run here, for `complete`.

        Raises ToolSettingsError if the settings of a tool are invalid.
        """
        from toolformer.home.wiring.toolbox import open_toolbox

        return list(open_toolbox(self._workspace, while_decoding=True).tools.values())

    @cached_property
    def _workspace(self) -> "Workspace":
        from toolformer.home.wiring.workspace import Workspace
        from toolformer.settings.settings_file import load_settings

        return Workspace(load_settings(self.paths.settings_file), self.paths)

    def sql(self, query: str) -> "pl.DataFrame":
        """Return the rows of one `select` over tables and views; `run_query` lists the errors."""
        return self.warehouse.skipping_damage().query(query)

    def kept_calls(self) -> "pl.DataFrame":
        """Return the kept calls with the columns of `all_calls`, largest loss reduction first."""
        return self.sql("from all_calls where is_kept order by loss_reduction desc, call_id")

    def explain(self, call_id: str) -> Mapping[str, Any]:
        """Return everything stored about one sampled call; see `explained_call.sql`.

        `call_id` is an id or a unique prefix of one; any other value raises a ToolformerError.
        """
        possible_shards = self.warehouse.ask("shards_with_calls", beginning=call_id)["shard"]
        candidates = self.warehouse.limited_to(possible_shards.to_list())
        # Verify digests only in the final query, since these two merely locate the call.
        exact = candidates.ask("call_named", verifies_digests=False, call_id=call_id)
        shards = dict(exact.iter_rows())
        if not shards:
            # Look for ids with this prefix. This is slower: it reads all call ids of these shards.
            calls = candidates.ask(
                "calls_beginning",
                verifies_digests=False,
                beginning=call_id,
                max_calls=_MAX_NAMED + 1,
            )
            shards = dict(calls.iter_rows())
        if not shards:
            raise ToolformerError(self._not_found(call_id))
        if len(shards) > 1:
            more = ", …" if len(shards) > _MAX_NAMED else ""
            raise ToolformerError(
                f"Several calls have an id that begins with {call_id!r}: "
                f"{', '.join(list(shards)[:_MAX_NAMED])}{more}. Expected a unique prefix. "
                "Give more characters of the id."
            )
        [(full_id, shard)] = shards.items()
        # Everything the query reads, including results of other calls, is in the call's shard.
        return self.warehouse.ask("explained_call", shards={shard}, call_id=full_id).row(
            0, named=True
        )

    def _not_found(self, beginning: str) -> str:
        if self.sql("from candidate_counts limit 1").is_empty():
            return f"There is no call {beginning!r}: none was sampled yet. Run `toolformer build`."
        return (
            f"There is no call whose id begins with {beginning!r}. Expected an id from "
            "candidate_calls, or a prefix of one. To list kept calls, the most helpful first, run "
            '`toolformer sql "select call_id, tool, call from kept_examples limit 20"`.'
        )

"""The tools and the model of a run, as Dagster hands them to the stages."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
from pydantic import Field, PrivateAttr

from toolformer.home.home import Home
from toolformer.home.wiring.model_holder import PROCESS_HOLDER
from toolformer.home.wiring.toolbox import Toolbox, open_toolbox
from toolformer.home.wiring.workspace import Workspace
from toolformer.settings.sections import Settings


class ToolboxResource(dg.ConfigurableResource):
    """The tools of a run, one field read by all stages; they go with its end, as the model does."""

    tools: list[str] = Field(
        default=[], description="names of the tools to use; by default all that can run"
    )

    # With the settings that they were opened by. Tools from outside are processes of their own.
    _opened: tuple[Settings, Toolbox] | None = PrivateAttr(default=None)

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> "Iterator[ToolboxResource]":
        """Tell that the process of the run lives; give the device back when the run ends.

        The processes of tools end then too, whoever still holds this resource.
        """
        assert context.run  # Only without one outside of execution.
        lock = Home.find().run_lock(context.run.run_id)
        with lock:
            try:
                yield self
            finally:
                self._opened = None
                PROCESS_HOLDER.release()
                Path(lock.lock_file).unlink(missing_ok=True)

    def open(self, work: Workspace) -> Toolbox:
        """The tools that this run uses; the same ones for all its stages."""
        if self._opened is None or self._opened[0] != work.settings:
            toolbox = open_toolbox(work, named=self.tools or None)
            for sentence in toolbox.left_out:
                dg.get_dagster_logger().warning(sentence)
            self._opened = work.settings, toolbox
        return self._opened[1]

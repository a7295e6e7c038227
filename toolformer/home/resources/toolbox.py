"""The Dagster resource with the tools of a run."""

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
    """The tools of a run, shared by its stages and closed when the run ends."""

    tools: list[str] = Field(
        default=[], description="Names of the tools to use; by default all that can run."
    )

    # The open tools, and the settings they were opened with.
    _opened: tuple[Settings, Toolbox] | None = PrivateAttr(default=None)

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> "Iterator[ToolboxResource]":
        """Hold the run's lock while it executes; then end tool processes and release the model."""
        assert context.run  # Dagster leaves it out only outside of runs.
        lock = Home.find().run_lock(context.run.run_id)
        with lock:
            try:
                yield self
            finally:
                self._opened = None
                PROCESS_HOLDER.release()
                Path(lock.lock_file).unlink(missing_ok=True)

    def open(self, work: Workspace) -> Toolbox:
        """Return the tools of this run, opened once for all its stages."""
        if self._opened is None or self._opened[0] != work.settings:
            toolbox = open_toolbox(work, named=self.tools or None)
            for sentence in toolbox.left_out:
                dg.get_dagster_logger().warning(sentence)
            self._opened = work.settings, toolbox
        return self._opened[1]

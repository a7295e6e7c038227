"""The language model of a run, as Dagster hands it to the stages."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

from toolformer.home.home import Home
from toolformer.home.wiring.model_holder import process_holder


class LanguageModelResource(dg.ConfigurableResource):
    """The model of a run, which the process holds from when a stage first needs it."""

    @contextmanager
    def yield_for_execution(
        self, context: dg.InitResourceContext
    ) -> "Iterator[LanguageModelResource]":
        """Tell that the process of the run lives; give the device back when the run ends."""
        assert context.run  # Only without one outside of execution.
        lock = Home.find().run_lock(context.run.run_id)
        with lock:
            try:
                yield self
            finally:
                process_holder().release()
                Path(lock.lock_file).unlink(missing_ok=True)

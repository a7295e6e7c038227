"""The language model of a run, as Dagster hands it to the stages."""

import dagster as dg

from toolformer_home.wiring.model_holder import process_holder


class LanguageModelResource(dg.ConfigurableResource):
    """The model of a run, which the process holds from when a stage first needs it."""

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002
        """Give the device back when the run ends."""
        process_holder().release()

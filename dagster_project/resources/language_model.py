"""The language model of a run, as Dagster hands it to the stages."""

import dagster as dg

from dagster_project.home import Home
from dagster_project.settings.sections import Settings
from dagster_project.wiring.model_holder import ModelHolder, process_holder


class LanguageModelResource(dg.ConfigurableResource):
    """The model of a run, loaded when a stage first needs it."""

    def holder(self) -> ModelHolder:
        """The process's holder."""
        return process_holder()

    def hold_device(self, settings: Settings, home: Home) -> str:
        """Wait for the device and keep it for this run; loads nothing."""
        return process_holder().hold_device(settings, home)

    def drop_reference(self) -> None:
        """Free the memory of the float32 copy."""
        process_holder().drop_reference()

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002
        """Give the device back when the run ends."""
        process_holder().release()

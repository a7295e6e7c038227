"""What stands in the directory of a finetuned model: the model itself, and its calibration."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from assets.outputs import Output
from dagster_project.shared_files import bring, publish
from dagster_project.wiring.model_cards import write_model_card
from toolformer.training.model_card import CARD_FILE
from warehouse.errors import StoreConflictError


@dataclass(frozen=True, kw_only=True)
class ModelOutput(Output):
    """An output in the directory of a finetuned model.

    Attributes:
        directory: of the model.
    """

    directory: Path

    @property
    def lock(self) -> FileLock:
        """The model's own: nobody trains it anew while it is calibrated."""
        return self.run.home.output_lock(f"finetuned_model.{self.directory.name}")

    @property
    def needs_device(self) -> bool:
        """See `Output.needs_device`."""
        return True

    def bring_directory(self) -> Path:
        """Bring this machine's copy of the directory up to date; returns the directory."""
        bring(self.run.home, self.directory)
        return self.directory

    def write_card(self) -> None:
        """Write the model's card; see `write_model_card`."""
        write_model_card(self.directory, self.run.base_model, self.run.settings)

    def complete(self) -> None:
        """Do what a kill behind the training left undone."""
        if not (self.directory / CARD_FILE).exists():
            self.write_card()
        self.replace_published()

    def publish_directory(self) -> None:
        """Publish the directory as it is now.

        Raises:
            StoreConflictError: another machine has published it since this one looked.
        """
        publish(self.run.home, self.directory)

    def replace_published(self) -> None:
        """Publish the directory, also over a model that another machine has published meanwhile.

        That may be the earlier model with a new calibration, or the one that is wanted.
        """
        try:
            self.publish_directory()
        except StoreConflictError:
            mine = self.directory.with_name(f"{self.directory.name}.mine.tmp")
            self.directory.rename(mine)
            if self.is_stale():
                shutil.rmtree(self.directory, ignore_errors=True)
                mine.rename(self.directory)
                self.publish_directory()
            else:
                shutil.rmtree(mine)

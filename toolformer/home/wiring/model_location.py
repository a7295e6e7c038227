"""Where a model is: in a directory of this machine, or on a server, with its tokenizer here.

With `language_model.server` set the base model is the served one, whoever asks for it and whether
or not its directory has weights besides: what is stored under a model's identity must come from the
model that answered.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from toolformer.errors import ToolformerError
from toolformer.home.home import Home
from toolformer.home.wiring.model_holder import ModelHolder, base_model_directory
from toolformer.home.wiring.served import served_identity
from toolformer.settings.sections import Settings
from tools.model_identity import model_identity

if TYPE_CHECKING:
    from toolformer.forward.language_model import LanguageModel
    from toolformer.served.served_model import ServedModel


@dataclass(frozen=True, slots=True)
class ModelLocation:
    """Where a model is.

    Attributes:
        directory: where it lies; of a served one the tokenizer.
    """

    directory: Path
    is_served: bool = False

    def label(self, settings: Settings) -> str:
        """What to call it: its id on the server, or its directory."""
        return str(settings.language_model.server.model if self.is_served else self.directory)

    def identity(self, settings: Settings) -> str:
        """What tells it from other models; see `served_identity`."""
        if self.is_served:
            return served_identity(settings, self.directory)
        return model_identity(self.directory)

    def check(self, identity: str, settings: Settings) -> None:
        """Raise a ToolformerError where it is no more the model that had this identity."""
        if self.identity(settings) != identity:
            raise ToolformerError(
                f"The model {self.label(settings)!r} was replaced by another model since this run "
                "began. Run the same again, with the new one."
            )

    def load(
        self, holder: ModelHolder, settings: Settings, home: Home, *, precision: str | None = None
    ) -> "LanguageModel | ServedModel":
        """The model; where a server runs it, in whatever precision that has."""
        if self.is_served:
            return holder.load_served(self.directory, settings)
        return holder.load(self.directory, settings, home, precision=precision)


def base_model(settings: Settings, home: Home) -> ModelLocation:
    """Where the base model is.

    Raises:
        ModelNotFoundError: see `base_model_directory`.
    """
    is_served = bool(settings.language_model.server.url)
    return ModelLocation(base_model_directory(settings, home), is_served)

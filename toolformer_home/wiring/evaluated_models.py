"""The models that are measured, by the names under which their results stand."""

from dataclasses import dataclass
from pathlib import Path

from toolformer.errors import ModelNotFoundError, ToolformerError
from toolformer.training.variants import CALLS
from toolformer_home.home import Home
from toolformer_home.settings.evaluation_sections import BASE, FINETUNED
from toolformer_home.settings.sections import Settings
from toolformer_home.wiring.annotator import is_trained
from toolformer_home.wiring.model_holder import base_model_directory
from toolformer_home.wiring.served import served_identity
from tools.model_identity import model_identity


@dataclass(frozen=True, slots=True)
class EvaluatedModel:
    """A model that is measured.

    Attributes:
        name: as it stands in results, where all variants and rounds are.
        directory: where it lies.
        is_finetuned: whether it is one that this home trained.
        is_served: whether a server runs it, and its tokenizer lies there.
    """

    name: str
    directory: Path
    is_finetuned: bool = False
    is_served: bool = False

    def identity(self, settings: Settings) -> str:
        """What tells it from other models; see `served_identity`."""
        if self.is_served:
            return served_identity(settings, self.directory)
        return model_identity(self.directory)


def name_of_variant(variant: str) -> str:
    """What the model of a variant of training is called where models are measured.

    Example:
        >>> name_of_variant("calls"), name_of_variant("plain")
        ('finetuned', 'plain')
    """
    return FINETUNED if variant == CALLS else variant


def evaluated_model(key: str, settings: Settings, home: Home) -> EvaluatedModel:
    """The model of this name, in the round that the settings say.

    Raises:
        ToolformerError: there is no such name, it has not been trained yet, or nothing is where the
            settings say.
    """
    check_model_name(key, settings)
    if key == BASE:
        is_served = bool(settings.language_model.server.url)
        return EvaluatedModel(BASE, base_model_directory(settings, home), is_served=is_served)
    if key in settings.evaluation.models:
        return EvaluatedModel(key, _named_directory(key, settings))
    newest = settings.training_rounds[0]
    variant = CALLS if key == FINETUNED else key
    directory = home.open(home.finetuned_model(newest, variant))
    if not is_trained(directory):
        raise ToolformerError(
            f"There is no finetuned model in {str(directory)!r} yet. Materialise partition "
            f"{variant} of `finetuned_model` first (`toolformer train --variant {variant}`)."
        )
    return EvaluatedModel(name_of_model(key, settings), directory, is_finetuned=True)


def check_model_name(key: str, settings: Settings) -> None:
    """Refuse what is no model's name.

    Raises:
        ToolformerError: there is no model of this name.
    """
    known = settings.evaluation.available_models
    if key not in known:
        raise ToolformerError(
            f"There is no model {key!r}. Expected one of {', '.join(known)}; name a directory of "
            "your own in evaluation.models."
        )


def name_of_model(key: str, settings: Settings) -> str:
    """How a finetuned model is called in the results, where all rounds stand."""
    newest = settings.training_rounds[0]
    return key if newest == 1 or key == BASE else f"{key}-round-{newest}"


def _named_directory(key: str, settings: Settings) -> Path:
    from toolformer.forward.model_directory import check_model_directory

    directory = Path(settings.evaluation.models[key])
    try:
        check_model_directory(directory)
    except ModelNotFoundError as error:
        raise ModelNotFoundError(f"evaluation.models.{key}: {error}") from error
    return directory

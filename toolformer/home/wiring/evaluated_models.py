"""The models that are measured, by the names under which their results stand."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from toolformer.errors import OutOfMemoryError, ToolformerError
from toolformer.forward.model import Model
from toolformer.forward.model_directory import check_model_directory, read_config
from toolformer.home.home import Home
from toolformer.home.wiring.annotator import has_vocabulary_of, is_trained
from toolformer.home.wiring.model_holder import ModelHolder
from toolformer.home.wiring.model_location import ModelLocation, base_model
from toolformer.settings.evaluation_sections import BASE, FINETUNED
from toolformer.settings.sections import Settings
from toolformer.settings.training_sections import CALLS

if TYPE_CHECKING:
    from toolformer.forward.language_model import LanguageModel

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatedModel(ModelLocation):
    """A model that is measured.

    Attributes:
        name: as it stands in results, where all variants and rounds are.
    """

    name: str
    is_finetuned: bool = False


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
        base = base_model(settings, home)
        return EvaluatedModel(base.directory, base.is_served, name=BASE)
    if key in settings.evaluation.models:
        directory = Path(settings.evaluation.models[key])
        check_model_directory(directory)
        return EvaluatedModel(directory, name=key)
    newest = settings.training_rounds[0]
    variant = CALLS if key == FINETUNED else key
    directory = home.finetuned_model(newest, variant)
    if not is_trained(directory):
        raise ToolformerError(
            f"There is no finetuned model in {str(directory)!r} yet. Materialise partition "
            f"{variant} of `finetuned_model` first (`toolformer train --variant {variant}`)."
        )
    return EvaluatedModel(directory, name=name_of_model(key, settings), is_finetuned=True)


def base_beside(
    model: Model, of: EvaluatedModel, holder: ModelHolder, settings: Settings, home: Home
) -> "LanguageModel | None":
    """The base model in float32, beside another that the holder holds, until `drop_copy`.

    None beside itself, and, with a warning, where it cannot be compared with the other.
    """
    from toolformer.forward.language_model import LanguageModel

    if of.name == BASE:
        return None
    base = base_model(settings, home)
    if base.is_served or not isinstance(model, LanguageModel):
        why = "is run by a server"
    elif not (has_vocabulary_of(of.directory, base.directory) and _has_logits_of(model, base)):
        why = "has another vocabulary"
    else:
        try:
            return holder.load_beside(base.directory, settings, home, precision="float32")
        except OutOfMemoryError as error:
            why = f"has no place in memory beside it ({error})"
    _LOGGER.warning("%s: no divergence from the base model, which %s", of.name, why)
    return None


def _has_logits_of(model: "LanguageModel", base: ModelLocation) -> bool:
    """Whether there are as many, some of which may stand for no token."""
    of_base = read_config(base.directory).get_text_config(decoder=True)
    return model.text_config.vocab_size == of_base.vocab_size


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

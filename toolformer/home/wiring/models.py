"""Finds the models that the settings name: the base model, annotators and finetuned models.

M of the paper samples the calls and judges them by its own losses, so the annotator of a round is
also its scoring model. `finetuned` is the checkpoint of the round before; each round has its own,
so training leaves its inputs up to date. Another checkpoint of round 1 makes round 2 stale, even if
the weights are equal: `toolformer.json` is part of a model's identity.

With `language_model.server` the base model is always the served one, even if its directory has
weights: rows stored under a model's identity must come from that model.
"""

import functools
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from toolformer.errors import ModelNotFoundError, OutOfMemoryError, ToolformerError
from toolformer.forward.precision import scoring_precision
from toolformer.home.wiring.served import check_tokenizer_directory, served_identity
from toolformer.home.wiring.workspace import Workspace
from toolformer.settings.evaluation_sections import BASE, FINETUNED
from toolformer.settings.sections import Settings
from toolformer.settings.training_sections import CALLS
from tools.model_identity import model_identity

if TYPE_CHECKING:
    from toolformer.forward.language_model import LanguageModel
    from toolformer.forward.model import Model
    from toolformer.served.served_model import ServedModel

_LOGGER = logging.getLogger(__name__)
# Normalisers and pre-tokenizers cut it in different ways: runs of digits, letters and blanks.
_PROBE = "In 1869 the MILL's cafe\u0301 sold 12,345.67 m²;\n\n  HelloWorld doesn't 橋"


@dataclass(frozen=True, slots=True)
class ModelLocation:
    """The directory of a model; of a served one, the directory of its tokenizer."""

    directory: Path
    is_served: bool = False

    def identity(self, settings: Settings) -> str:
        """Return the digest of the model; see `model_identity` and `served_identity`."""
        if self.is_served:
            return served_identity(settings.language_model.server, self.directory)
        return model_identity(self.directory)

    def check(self, identity: str, settings: Settings) -> None:
        """Raise a ToolformerError if the model has another identity by now."""
        if self.identity(settings) != identity:
            name = settings.language_model.server.model if self.is_served else self.directory
            raise ToolformerError(
                f"The model {str(name)!r} was replaced by another model since this run "
                "began. Run the same again, with the new one."
            )

    def load(
        self, work: Workspace, *, precision: str | None = None
    ) -> "LanguageModel | ServedModel":
        """Load the model; a server runs it in a precision of its own."""
        section = work.settings.language_model
        if self.is_served:
            return work.holder.load_served(self.directory, section)
        return work.holder.load(self.directory, section, work.home, precision=precision)


def base_model(work: Workspace) -> ModelLocation:
    """Return where the base model is; see `base_model_directory`."""
    is_served = bool(work.settings.language_model.server.url)
    return ModelLocation(base_model_directory(work), is_served)


def base_model_directory(work: Workspace) -> Path:
    """Return the directory of the base model; convert the embedded one at first use.

    Raises:
        ModelNotFoundError: there is no model, or, with a server, no tokenizer.
    """
    from toolformer.forward.embedded_model import ensure_embedded_model
    from toolformer.forward.model_directory import check_model_directory

    section = work.settings.language_model
    if section.path == "embedded":
        return ensure_embedded_model(work.home.converted_models)
    directory = Path(section.path)
    if section.server.url:
        check_tokenizer_directory(directory)
    else:
        check_model_directory(directory)
    return directory


@dataclass(frozen=True, slots=True)
class Annotator:
    """The model that samples and scores the calls of a round.

    Attributes:
        identity: its digest when the run began; part of the fingerprints.
    """

    location: ModelLocation
    identity: str

    @classmethod
    def of(cls, work: Workspace) -> "Annotator":
        """Return the annotator that the settings name, without loading it.

        Raises:
            ModelNotFoundError: there is no such model, or its tokens are not the base model's.
            ServedModelError: its server does not answer.
        """
        from toolformer.forward.model_directory import check_model_directory

        sampling = work.settings.sampling
        if sampling.annotator == BASE:
            location = base_model(work)
            return cls(location, location.identity(work.settings))
        directory = Path(sampling.annotator)
        if sampling.annotator == FINETUNED:
            before = sampling.round - 1
            directory = work.home.finetuned_model(before)
            if not is_trained(directory):
                raise ModelNotFoundError(
                    f"Round {sampling.round} is to be annotated by the model finetuned in round "
                    f"{before}, but there is none in {str(directory)!r}. Train it first, with "
                    f"sampling.round: {before} (`toolformer train`), or name another "
                    "sampling.annotator: base or a model directory."
                )
        check_model_directory(directory)
        base = base_model_directory(work)
        # Positions are counted in tokens, and training inserts the calls with the base tokenizer.
        if not has_vocabulary_of(directory, base):
            raise ModelNotFoundError(
                f"The annotator in {str(directory)!r} has another vocabulary than the base model "
                f"in {str(base)!r}, or cuts texts otherwise, so its calls would stand at other "
                "tokens. Set sampling.annotator to a model that was finetuned from this base "
                "model, or language_model.path to the base of that one."
            )
        return cls(ModelLocation(directory), model_identity(directory))

    def load(self, work: Workspace, *, is_scoring: bool = False) -> "Model":
        """Load the model; to score on a processor, in float32.

        Raises:
            ToolformerError: it was replaced, so rows would be stored under a wrong fingerprint.
        """
        location, precision = self.location, None
        if not location.is_served:
            # Training holds the device until its checkpoint is whole, so wait before checking.
            device = work.hold_device()
            precision = scoring_precision(device) if is_scoring else None
        location.check(self.identity, work.settings)
        return location.load(work, precision=precision)

    def check_served(self, settings: Settings) -> None:
        """Raise a ToolformerError if the server has another model by now, or does not answer."""
        if self.location.is_served:
            self.location.check(self.identity, settings)


def check_can_annotate(
    model: ModelLocation, prompts: Mapping[str, str | None], settings: Settings
) -> None:
    """Raise SequenceTooLongError if a sampled or scored row may not fit the model's context."""
    from toolformer.forward.model_directory import context_length, read_config
    from toolformer.forward.tokenization import load_tokenizer
    from toolformer.sampling import check_context

    if model.is_served:
        # Its server reports the context length when it is first asked.
        return
    directory = model.directory
    tokenizer, config = load_tokenizer(directory), read_config(directory)
    length = context_length(config.get_text_config(decoder=True), directory.name)
    for name, prompt in prompts.items():
        check_context(name, prompt, tokenizer, settings, context_length=length)


def finetuned_model_directory(work: Workspace) -> Path:
    """Where the model lies that is finetuned as the settings say, trained or not."""
    settings = work.settings
    return work.home.finetuned_model(settings.training_rounds[0], settings.training.variant)


def is_trained(directory: Path) -> bool:
    """Whether a finetuned model is there; its folder appears whole."""
    return any(directory.glob("*.safetensors"))


def has_vocabulary_of(directory: Path, other: Path) -> bool:
    """Whether two models have the same tokens by the same ids, and cut a text into the same."""
    own, others = (_vocabulary(each, model_identity(each)) for each in (directory, other))
    return own == others


@functools.lru_cache(maxsize=4)
def _vocabulary(directory: Path, identity: str) -> tuple[dict[str, int], list[int]]:  # noqa: ARG001
    """Token by text, and a text's; `identity` is for the cache: a checkpoint can be replaced."""
    from toolformer.forward.tokenization import load_tokenizer

    tokenizer = load_tokenizer(directory)
    return tokenizer.backend.get_vocab(), tokenizer.encode(_PROBE)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatedModel(ModelLocation):
    """A model that is measured; `name` is its name in results, with variant and round."""

    name: str
    is_finetuned: bool = False


def name_of_variant(variant: str) -> str:
    """What the model of a variant of training is called where models are measured.

    Example:
        >>> name_of_variant("calls"), name_of_variant("plain")
        ('finetuned', 'plain')
    """
    return FINETUNED if variant == CALLS else variant


def evaluated_model(key: str, work: Workspace) -> EvaluatedModel:
    """Return the model of this name, in the round of the settings.

    Raises:
        ToolformerError: there is no such name or no such model yet.
    """
    from toolformer.forward.model_directory import check_model_directory

    settings = work.settings
    check_model_name(key, settings)
    if key == BASE:
        base = base_model(work)
        return EvaluatedModel(base.directory, base.is_served, name=BASE)
    if key in settings.evaluation.models:
        directory = Path(settings.evaluation.models[key])
        check_model_directory(directory)
        return EvaluatedModel(directory, name=key)
    variant = CALLS if key == FINETUNED else key
    directory = work.home.finetuned_model(settings.training_rounds[0], variant)
    if not is_trained(directory):
        raise ToolformerError(
            f"There is no finetuned model in {str(directory)!r} yet. Materialise partition "
            f"{variant} of `finetuned_model` first (`toolformer train --variant {variant}`)."
        )
    return EvaluatedModel(directory, name=name_of_model(key, settings), is_finetuned=True)


def load_base_for_comparison(
    model: "Model", of: EvaluatedModel, work: Workspace
) -> "LanguageModel | None":
    """Load the base model in float32, beside the model that is held, until `drop_second_model`.

    Returns:
        None for the base model itself, and, with a warning, if the two cannot be compared.
    """
    from toolformer.forward.language_model import LanguageModel
    from toolformer.forward.model_directory import read_config

    if of.name == BASE:
        return None
    base = base_model(work)
    if base.is_served or not isinstance(model, LanguageModel):
        why = "is run by a server"
    elif (
        not has_vocabulary_of(of.directory, base.directory)
        # Some logits may belong to no token.
        or model.text_config.vocab_size
        != read_config(base.directory).get_text_config(decoder=True).vocab_size
    ):
        why = "has another vocabulary"
    else:
        try:
            section = work.settings.language_model
            return work.holder.load_second_model(
                base.directory, section, work.home, precision="float32"
            )
        except OutOfMemoryError as error:
            why = f"has no place in memory beside it ({error})"
    _LOGGER.warning("%s: no divergence from the base model, which %s", of.name, why)
    return None


def check_model_name(key: str, settings: Settings) -> None:
    """Raise a ToolformerError if there is no model of this name."""
    known = settings.evaluation.available_models
    if key not in known:
        raise ToolformerError(
            f"There is no model {key!r}. Expected one of {', '.join(known)}; name a directory of "
            "your own in evaluation.models."
        )


def name_of_model(key: str, settings: Settings) -> str:
    """Return the name of a finetuned model in results, where all rounds are."""
    newest = settings.training_rounds[0]
    return key if newest == 1 or key == BASE else f"{key}-round-{newest}"

"""Finds the models that the settings name: the base model, annotators and finetuned models.

The annotator of a round also scores its calls, as M does in the paper. The annotator `finetuned` is
the checkpoint of the previous round. A new checkpoint of round 1 makes round 2 stale even if its
weights are the same, since `toolformer.json` is part of a model's identity.

With `language_model.server`, the base model is always the served one, even if its directory has
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
# Different normalisers and pre-tokenizers split this text differently.
_PROBE = "In 1869 the MILL's cafe\u0301 sold 12,345.67 m²;\n\n  HelloWorld doesn't 橋"


@dataclass(frozen=True, slots=True)
class ModelLocation:
    """Directory of a model, or of the tokenizer of a served model."""

    directory: Path
    is_served: bool = False

    def identity(self, settings: Settings) -> str:
        if self.is_served:
            return served_identity(settings.language_model.server, self.directory)
        return model_identity(self.directory)

    def check(self, identity: str, settings: Settings) -> None:
        """Raise a ToolformerError if the model has another identity now."""
        if self.identity(settings) != identity:
            name = settings.language_model.server.model if self.is_served else self.directory
            raise ToolformerError(
                f"The model {str(name)!r} was replaced after this run began. "
                "Run the same command again to use the new model."
            )

    def load(
        self, work: Workspace, *, precision: str | None = None
    ) -> "LanguageModel | ServedModel":
        """Load the model; `precision` has no effect on a served one."""
        section = work.settings.language_model
        if self.is_served:
            return work.holder.load_served(self.directory, section)
        return work.holder.load(self.directory, section, work.home, precision=precision)


def base_model(work: Workspace) -> ModelLocation:
    is_served = bool(work.settings.language_model.server.url)
    return ModelLocation(base_model_directory(work), is_served)


def base_model_directory(work: Workspace) -> Path:
    """Return the base model's directory; convert the embedded one at first use."""
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
    """Model that samples and scores the calls of a round, with its identity at run start."""

    location: ModelLocation
    identity: str

    @classmethod
    def of(cls, work: Workspace) -> "Annotator":
        """Return the annotator that the settings name, without loading it.

        Raises ModelNotFoundError if it does not exist or tokenizes unlike the base model,
        ServedModelError if its server does not answer.
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
                    f"The settings let the model finetuned in round {before} annotate round "
                    f"{sampling.round}, but there is no model in {str(directory)!r}. Train it "
                    f"first, with sampling.round: {before} (`toolformer train`), or set "
                    "sampling.annotator to base or to a model directory."
                )
        check_model_directory(directory)
        base = base_model_directory(work)
        # Positions are token indices, and training inserts the calls with the base tokenizer.
        if not has_vocabulary_of(directory, base):
            raise ModelNotFoundError(
                f"The annotator in {str(directory)!r} and the base model in {str(base)!r} "
                "tokenize texts differently, so the positions of its calls would be wrong. Set "
                "sampling.annotator to a model that was finetuned from this base model, or "
                "language_model.path to the base of the annotator."
            )
        return cls(ModelLocation(directory), model_identity(directory))

    def load(self, work: Workspace, *, is_scoring: bool = False) -> "Model":
        """Load the model; a CPU scores in float32. Raise a ToolformerError if it was replaced."""
        location, precision = self.location, None
        if not location.is_served:
            # Training holds the device until its checkpoint is complete: wait, then check.
            device = work.hold_device()
            precision = scoring_precision(device) if is_scoring else None
        location.check(self.identity, work.settings)
        return location.load(work, precision=precision)

    def check_served(self, settings: Settings) -> None:
        """Raise a ToolformerError if the server does not answer, or runs another model now."""
        if self.location.is_served:
            self.location.check(self.identity, settings)


def check_can_annotate(
    model: ModelLocation, prompts: Mapping[str, str | None], settings: Settings
) -> None:
    """Raise SequenceTooLongError if a row to sample or score may exceed the model's context."""
    from toolformer.forward.model_directory import context_length, read_config
    from toolformer.forward.tokenization import load_tokenizer
    from toolformer.sampling import check_context

    if model.is_served:
        # A server reports its context length with the first request.
        return
    directory = model.directory
    tokenizer, config = load_tokenizer(directory), read_config(directory)
    length = context_length(config.get_text_config(decoder=True), directory.name)
    for name, prompt in prompts.items():
        check_context(name, prompt, tokenizer, settings, context_length=length)


def finetuned_model_directory(work: Workspace) -> Path:
    """Return the directory of the finetuned model, which may not exist yet."""
    settings = work.settings
    return work.home.finetuned_model(settings.training_rounds[0], settings.training.variant)


def is_trained(directory: Path) -> bool:
    """Return whether the directory has weights; training publishes it by an atomic rename."""
    return any(directory.glob("*.safetensors"))


def has_vocabulary_of(directory: Path, other: Path) -> bool:
    """Return whether two models have the same tokens and ids, and tokenize a probe text alike."""
    first, second = (_vocabulary(path, model_identity(path)) for path in (directory, other))
    return first == second


@functools.lru_cache(maxsize=4)
def _vocabulary(directory: Path, identity: str) -> tuple[dict[str, int], list[int]]:  # noqa: ARG001
    """Return the vocabulary and the token ids of the probe; `identity` is only a cache key."""
    from toolformer.forward.tokenization import load_tokenizer

    tokenizer = load_tokenizer(directory)
    return tokenizer.backend.get_vocab(), tokenizer.encode(_PROBE)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatedModel(ModelLocation):
    """A model to evaluate; its name in results contains variant and round."""

    name: str
    is_finetuned: bool = False


def name_of_variant(variant: str) -> str:
    """Return the name of a training variant in evaluations: `finetuned` for `calls`.

    Example:
        >>> name_of_variant("calls"), name_of_variant("plain")
        ('finetuned', 'plain')
    """
    return FINETUNED if variant == CALLS else variant


def evaluated_model(key: str, work: Workspace) -> EvaluatedModel:
    """Return a model by name; raise a ToolformerError if it is unknown or not trained yet."""
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
            f"There is no finetuned model in {str(directory)!r} yet. Run `toolformer train "
            f"--variant {variant}` first, or materialise the partition {variant} of "
            "`finetuned_model`."
        )
    return EvaluatedModel(directory, name=name_of_model(key, settings), is_finetuned=True)


def load_base_for_comparison(
    model: "Model", of: EvaluatedModel, work: Workspace
) -> "LanguageModel | None":
    """Load the base model in float32, to compare a model with it.

    Returns None for the base model itself, and with a warning if the two cannot be compared.
    """
    from toolformer.forward.language_model import LanguageModel
    from toolformer.forward.model_directory import read_config

    if of.name == BASE:
        return None
    base = base_model(work)
    if base.is_served or not isinstance(model, LanguageModel):
        why = "the base model runs on a server"
    elif (
        not has_vocabulary_of(of.directory, base.directory)
        # Compare the numbers of logits too, which may exceed the size of the vocabulary.
        or model.text_config.vocab_size
        != read_config(base.directory).get_text_config(decoder=True).vocab_size
    ):
        why = "the base model has another vocabulary"
    else:
        try:
            section = work.settings.language_model
            return work.holder.load_second_model(
                base.directory, section, work.home, precision="float32"
            )
        except OutOfMemoryError as error:
            why = f"both models do not fit into memory ({error})"
    _LOGGER.warning("%s: the divergence from the base model is not computed: %s", of.name, why)
    return None


def check_model_name(key: str, settings: Settings) -> None:
    known = settings.evaluation.available_models
    if key not in known:
        raise ToolformerError(
            f"There is no model {key!r}. Expected one of {', '.join(known)}. To evaluate a model "
            "of your own, add its directory to evaluation.models."
        )


def name_of_model(key: str, settings: Settings) -> str:
    """Return a model's name in results, such as `finetuned-round-2` after the first round."""
    newest = settings.training_rounds[0]
    return key if newest == 1 or key == BASE else f"{key}-round-{newest}"

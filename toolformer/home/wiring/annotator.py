"""The model M of a round of annotation: which one samples and scores, and the models of the rounds.

M of the paper samples the calls and judges them by its own losses; so the annotator of a round is
also its scoring model. It is the base model, a model directory, or `finetuned`: the checkpoint of
the round before, and never "the newest there is". Each round has a checkpoint of its own, so
training leaves what it was trained on up to date; another checkpoint of round 1 makes round 2
stale, also where its weights came out equal (`toolformer.json` is part of its identity).
"""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from toolformer.errors import ModelNotFoundError
from toolformer.forward.precision import scoring_precision
from toolformer.home.home import Home
from toolformer.home.wiring.model_holder import ModelHolder, base_model_directory
from toolformer.home.wiring.model_location import ModelLocation, base_model
from toolformer.settings.evaluation_sections import BASE, FINETUNED
from toolformer.settings.sections import Settings
from tools.model_identity import model_identity

if TYPE_CHECKING:
    from toolformer.forward.model import Model


# Normalisers and pre-tokenizers cut it in different ways: runs of digits, letters and blanks.
_PROBE = "In 1869 the MILL's cafe\u0301 sold 12,345.67 m²;\n\n  HelloWorld doesn't 橋"


@dataclass(frozen=True, slots=True)
class Annotator:
    """The model that samples and scores the calls of a round.

    Attributes:
        identity: what told it from other models at first; part of the fingerprints.
    """

    location: ModelLocation
    identity: str

    @classmethod
    def of(cls, settings: Settings, home: Home) -> "Annotator":
        """The annotator that the settings name, without loading it.

        Raises:
            ModelNotFoundError: there is no such model, or its tokens are not the base model's.
            ServedModelError: its server does not answer.
        """
        if settings.sampling.annotator == BASE:
            location = base_model(settings, home)
            return cls(location, location.identity(settings))
        directory = annotator_directory(settings, home)
        base = base_model_directory(settings, home)
        # Positions are counted in tokens, and training inserts the calls with the base tokenizer.
        if not has_vocabulary_of(directory, base):
            raise ModelNotFoundError(
                f"The annotator in {str(directory)!r} has another vocabulary than the base model "
                f"in {str(base)!r}, or cuts texts otherwise, so its calls would stand at other "
                "tokens. Set sampling.annotator to a model that was finetuned from this base "
                "model, or language_model.path to the base of that one."
            )
        return cls(ModelLocation(directory), model_identity(directory))

    def load(
        self, holder: ModelHolder, settings: Settings, home: Home, *, is_scoring: bool = False
    ) -> "Model":
        """Load the model. To score, a processor loads it in float32, whatever it samples in.

        Raises:
            ToolformerError: the directory or server holds another model by now. Its rows would be
                stored under the fingerprint of the one that is gone.
        """
        location, precision = self.location, None
        if not location.is_served:
            # Training holds the device until its checkpoint is there: looked at once it is ours.
            device = holder.hold_device(settings, home)
            precision = scoring_precision(device) if is_scoring else None
        location.check(self.identity, settings)
        return location.load(holder, settings, home, precision=precision)

    def check_served(self, settings: Settings) -> None:
        """Refuse rows that a server may have made with another model; one loaded here stays.

        Raises:
            ToolformerError: the server holds another model by now.
            ServedModelError: it does not answer, for long.
        """
        if self.location.is_served:
            self.location.check(self.identity, settings)


def annotator_directory(settings: Settings, home: Home) -> Path:
    """Directory of an annotator that is not the base model.

    Raises:
        ModelNotFoundError: there is no model.
    """
    from toolformer.forward.model_directory import check_model_directory

    sampling = settings.sampling
    if sampling.annotator == FINETUNED:
        before = sampling.round - 1
        directory = home.finetuned_model(before)
        if not is_trained(directory):
            raise ModelNotFoundError(
                f"Round {sampling.round} is to be annotated by the model finetuned in round "
                f"{before}, but there is none in {str(directory)!r}. Train it first, with "
                f"sampling.round: {before} (`toolformer train`), or name another "
                "sampling.annotator: base or a model directory."
            )
        return directory
    directory = Path(sampling.annotator)
    check_model_directory(directory)
    return directory


def directory_of_model(identity: str, settings: Settings, home: Home) -> Path | None:
    """Where the model lies whose identity the fingerprints of calls name; None where it is gone.

    What the settings name is looked at, and all models of the home.
    """
    named = (settings.language_model.path, settings.sampling.annotator)
    directories = [Path(name) for name in named]
    directories += sorted({*home.models.glob("*"), *home.converted_models.glob("*")})
    for directory in directories:
        if is_trained(directory) and model_identity(directory) == identity:
            return directory
    return None


def finetuned_model_directory(settings: Settings, home: Home) -> Path:
    """Where the model lies that is finetuned as the settings say, trained or not."""
    newest = settings.training_rounds[0]
    return home.finetuned_model(newest, settings.training.variant)


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

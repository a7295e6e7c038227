"""How far loss reductions in bfloat16 lie from those in float32, and the band that follows.

Measured once per model on a fixed sample: made-up calls in the starter texts that come with the
project. The noise of a precision belongs to the model's arithmetic and hardly to what a call says,
and a fixed sample gives every shard, tool and home the same band, whatever is built first. Does not
decide and does not store.
"""

import itertools
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from toolformer.calls import CallFormat
from toolformer.errors import CalibrationError
from toolformer.filtering import Baseline, decide
from toolformer.forward.checkpoint import Checkpoint
from toolformer.forward.language_model import LanguageModel
from toolformer.forward.tokenization import Tokenizer
from toolformer.forward.windows import Window, split_into_windows
from toolformer.ground.digests import number_digest
from toolformer.loss_form import PAPERS_FORM, LossForm
from toolformer.loss_weights import TOKEN_WEIGHTS
from toolformer.losses import ScoredCall, TextLosses, WindowKey, score_calls
from toolformer.rescoring import start_token_losses
from toolformer.sources.files import built_in_path
from toolformer.sources.source import STARTER_TEXTS
from toolformer.stage_cost import CostMeter, StageCost
from tools.protocol import ToolCall

# Half the width of the band in standard deviations. For normal noise it holds 99.7 % of the
# differences. A decision differs only where a call lies near the threshold *and* its difference
# is larger than its distance, so that far fewer than the remaining 0.3 % do.
_DEVIATIONS = 3.0
_CALLS_PER_WINDOW = 4
# The noise does not grow with the length of the text, the cost does.
_MOST_WINDOW_TOKENS = 128


@dataclass(frozen=True, slots=True)
class Calibration:
    """The measured spread and the safety band.

    Attributes:
        calls: size of the sample.
        sigma: root of the mean squared difference of the two reductions, in nats.
        largest: largest difference, in nats.
        band: half the width of the safety band, in nats.
        coverage: share of the sample's differences within the band.
    """

    calls: int
    sigma: float
    largest: float
    band: float
    coverage: float


def calibrate(differences: Sequence[float]) -> Calibration:
    """The band that follows from differences between the reductions of two precisions.

    Args:
        differences: bfloat16 minus float32, in nats.

    Raises:
        CalibrationError: there are none.

    Example:
        >>> calibrate([0.04, -0.04]).band
        0.12
    """
    if not differences:
        raise CalibrationError(
            "No call of the calibration sample has finite losses in both precisions, so the model "
            "is of no use in bfloat16. Set language_model.precision to float32, or use another "
            "model."
        )
    sigma = math.sqrt(math.fsum(each**2 for each in differences) / len(differences))
    band = round(_DEVIATIONS * sigma, 4)
    return Calibration(
        calls=len(differences),
        sigma=sigma,
        largest=max(abs(each) for each in differences),
        band=band,
        coverage=sum(abs(each) <= band for each in differences) / len(differences),
    )


def calibration_calls(
    tokenizer: Tokenizer, *, count: int, window_tokens: int
) -> tuple[dict[WindowKey, Window], list[ScoredCall]]:
    """The sample: windows of the starter texts, and made-up calls at digested positions.

    A third of the results says what the text goes on with, a third says so between other words, and
    a third is about something else, so that the reductions lie on both sides of any threshold.

    Args:
        tokenizer: of the model.
        count: calls.
        window_tokens: of a window of a shard; the sample's are at most that long.
    """
    lines = (built_in_path(STARTER_TEXTS) / "starter_texts.jsonl").read_text("utf-8").splitlines()
    texts = [json.loads(line)["text"] for line in lines]
    cut = split_into_windows(
        STARTER_TEXTS,
        "\n\n".join(texts),
        tokenizer,
        window_tokens=min(window_tokens, _MOST_WINDOW_TOKENS),
    )
    windows = list(itertools.islice(cut, math.ceil(count / _CALLS_PER_WINDOW)))
    made = [
        _made_up_call(windows[number // _CALLS_PER_WINDOW % len(windows)], number, texts)
        for number in range(count)
    ]
    calls = [call for call in made if call is not None]
    used = {call.window for call in calls}
    by_key = {(window.document_id, window.index): window for window in windows}
    return {key: window for key, window in by_key.items() if key in used}, calls


def _made_up_call(window: Window, number: int, texts: Sequence[str]) -> ScoredCall | None:
    """A call at some position of a window; None where the window has no five tokens."""
    places = [
        place
        for place, offset in enumerate(window.offsets[: -len(TOKEN_WEIGHTS)])
        if offset is not None
    ]
    if not places:
        return None
    call_id = f"calibration-{number}"
    position = places[number_digest(call_id) % len(places)]
    offset = window.offsets[position] or 0
    before, after = _words(window.text[:offset]), _words(window.text[offset:])
    other = _words(texts[number_digest(call_id, "other", separator=" ") % len(texts)])[:30]
    results = (after[:3], [*other[:15], *after[:3], *other[15:]], other)
    return ScoredCall(
        call_id=call_id,
        window=(window.document_id, window.index),
        position=position,
        call=ToolCall("QA", " ".join(before[-4:] or after[:4])),
        result=" ".join(results[number % len(results)]) or "-",
    )


def measure(
    model: LanguageModel,
    reference: LanguageModel,
    *,
    count: int,
    window_tokens: int,
    call_format: CallFormat,
    token_budget: int | None,
    checkpoint: Callable[[str], Checkpoint],
    progress: Callable[[int, int], None],
    form: LossForm = PAPERS_FORM,
    baseline: Baseline = Baseline.MINIMUM,
) -> tuple[Calibration, StageCost]:
    """Score the sample in both ways and take the band from the differences.

    Args:
        model: in bfloat16.
        reference: the same in float32.
        count, window_tokens: see `calibration_calls`.
        call_format, token_budget, progress, form, baseline: as for
            `toolformer.losses.score_calls`.
        checkpoint: gives the one of a precision.

    Returns:
        The calibration, and what it cost.
    """
    kept = {each.precision: checkpoint(each.precision) for each in (model, reference)}
    meter = CostMeter(model, reference, checkpoint=kept[model.precision])
    meter.follow(kept[reference.precision])
    windows, calls = calibration_calls(model.tokenizer, count=count, window_tokens=window_tokens)

    texts = list(windows.values())

    def reductions(of_model: LanguageModel, text_losses: TextLosses) -> Mapping[str, float]:
        losses = score_calls(
            of_model,
            windows,
            text_losses,
            calls,
            call_format=call_format,
            pruning_threshold=-math.inf,
            full_losses=True,
            token_budget=token_budget,
            checkpoint=kept[of_model.precision],
            progress=progress,
            form=form,
            baseline=baseline,
        )
        decisions = {
            call_id: decide(of_call, filtering_threshold=0.0, baseline=baseline)
            for call_id, of_call in losses.items()
        }
        return {
            call_id: decision.loss_reduction
            for call_id, decision in decisions.items()
            if decision.loss_reduction is not None
        }

    rough = reductions(
        model,
        TextLosses(
            model,
            texts,
            token_budget=token_budget,
            start_losses=start_token_losses(reference),
        ),
    )
    exact = reductions(reference, TextLosses(reference, texts, token_budget=token_budget))
    found = calibrate([rough[call_id] - exact[call_id] for call_id in rough if call_id in exact])
    return found, meter.cost("calibration", candidates=found.calls)


def _words(text: str) -> list[str]:
    """Words that may stand in a call: without its marks."""
    return re.sub(r"[\[\]()]|->", " ", text).split()

"""Compares the engine, which shares, caches and batches, with the reference method for a model."""

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path

from toolformer import reference
from toolformer.augmentation import KeptCall, augmented_segments
from toolformer.decoding.completions import Decoding
from toolformer.decoding.decoder import complete
from toolformer.forward.attention_masks import attention_window
from toolformer.forward.checkpoint import Checkpoint
from toolformer.forward.language_model import LanguageModel
from toolformer.forward.model import Branch
from toolformer.forward.windows import Window, WindowKey, split_into_windows
from toolformer.sampling import allowed_positions, sample_calls
from toolformer.scoring.call_scorer import ScoredCall
from toolformer.scoring.losses import scorer_for
from toolformer.settings.annotation_sections import (
    DecodingSettings,
    SamplingSettings,
    ScoringSettings,
)
from toolformer.settings.tool_sections import ToolSettings
from toolformer.training.training_loss import EQUAL_WEIGHTS, summed_losses
from toolformer.training.training_rows import training_row
from tools.protocol import ToolCall

_TOOL, _ARGUMENTS, _RESULT = "Calculator", "48 * 3", "144"
_CALL = ToolCall(_TOOL, _ARGUMENTS)
_PROMPT = (
    "Add calls.\n\nInput: Six crates of 24 make 144.\n"
    "Output: Six crates of 24 make [Calculator(6 * 24)] 144.\n\n"
    "Input: {text}\nOutput:"
)
# Digits, brackets, a letter of two characters, an emoji of several bytes, the end of a line.
_TEXT = "Zoe\u0301 [of Vérone] sold 48 loaves at 3.50 🌋 each,\nso it took 1,234 (not 17) crowns. "
_SHORT_TEXT = "Rain fell on 12 hills"
# Rows longer than a longer attention window would take minutes.
_LONGEST_WINDOW = 1024
# Below any threshold, so the ratio of smaller p_i decides nothing.
_LEAST = 1e-12
# Largest rounding error of a log-probability in nats, with room for large models: in 16 bits six
# times the measured standard deviation of a loss.
TOLERANCES = {"float32": 5e-4, "float16": 0.03, "bfloat16": 0.3}
_TOOL_SETTINGS = ToolSettings(sampling_threshold=0.0, positions_per_text=3, calls_per_position=2)
_SAMPLING = SamplingSettings(max_new_tokens=6, seed=7)
# A call opens at once, comes to nothing and is taken back.
_DECODING = Decoding(
    DecodingSettings(max_new_tokens=12, call_top_k=1_000_000, max_call_tokens=4, call_attempts=1),
    max_result_tokens=4,
    tools=(_TOOL,),
)

_Windows = Mapping[WindowKey, Window]


def check_model(model: LanguageModel) -> dict[str, float]:
    """Return the largest differences of a model's numbers from the reference.

    Returns:
        `call_probability`: relative to p_i, or to 1e-12 if it is smaller. In nats: `samples`, per
        token; `losses` and `inline_losses`, of a call before its text and at its place;
        `training_loss`, of a batch; `decoded`, of a token, or by how much another is likelier.
    """
    windows = _windows(model)
    call_probability, samples = _sampling(model, windows)
    return {
        "call_probability": call_probability,
        "samples": samples,
        "losses": _scoring(model, windows, ScoringSettings()),
        "inline_losses": _scoring(model, windows, ScoringSettings(placement="inline")),
        "training_loss": _training(model, windows),
        "decoded": _decoding(model, windows),
    }


def faults(differences: Mapping[str, float], tolerance: float) -> list[str]:
    """Describe each difference above the tolerance."""
    return [
        f"{name.replace('_', ' ')} {difference:.2g}"
        for name, difference in differences.items()
        # NaN is no agreement.
        if not difference <= tolerance
    ]


def _windows(model: LanguageModel) -> dict[WindowKey, Window]:
    """Two texts; the first is longer than the window of the model's attention."""
    window = attention_window(model.text_config) or 0
    count = len(model.tokenizer.encode(_TEXT))
    times = 1 + (window // count if window <= _LONGEST_WINDOW else 0)
    return {
        one.key: one
        for name, text in (("long", (_TEXT * times).strip()), ("short", _SHORT_TEXT))
        for one in split_into_windows(name, text, model.tokenizer, window_tokens=4096)
    }


def _places(window: Window) -> list[int]:
    """Return the first, the middle and the last position that can hold a call."""
    places = [place for place, can_hold in enumerate(allowed_positions(window)) if can_hold]
    return sorted({places[0], places[len(places) // 2], places[-1]})


def _sampling(model: LanguageModel, windows: _Windows) -> tuple[float, float]:
    """Compare p_i and samples, teacher-forced."""
    branches: list[Branch] = []
    rows = sample_calls(
        model,
        _PROMPT,
        list(windows.values()),
        tool_name=_TOOL,
        takes_arguments=True,
        parse_arguments=str.strip,
        tool=_TOOL_SETTINGS,
        sampling=_SAMPLING,
        proposed=[dict.fromkeys(_places(window)) for window in windows.values()],
        branches=branches,
    )
    relative, samples = [], []
    for row, branch in zip(rows, branches, strict=True):
        text = windows[row.document_id, row.window_index].text
        # Of these samples the probabilities were computed.
        assert row.call_probability is not None
        expected = reference.call_probability(model, _PROMPT, text, row.position)
        relative.append(abs(row.call_probability - expected) / max(expected, _LEAST))
        context = reference.sampling_context(
            model, _PROMPT, text, row.position, pieces=[" [", f"{_TOOL}("]
        )
        expected = reference.log_probability(model, context, branch.tokens)
        samples.append(abs(branch.log_probability - expected) / len(branch.tokens))
    return max(relative), max(samples)


def _scoring(model: LanguageModel, windows: _Windows, scoring: ScoringSettings) -> float:
    """Compare the three losses of calls."""
    calls = [
        ScoredCall(f"{window.document_id}-{place}", window.key, place, _CALL, _RESULT)
        for window in windows.values()
        for place in _places(window)
    ]
    scorer = scorer_for(model, windows, scoring)
    with tempfile.TemporaryDirectory() as folder:
        losses = scorer.score(
            calls,
            exact={call.call_id for call in calls},
            checkpoint=Checkpoint(Path(folder) / "scoring", fingerprint="check"),
            progress=lambda _done, _total: None,
        )
    differences = []
    for call in calls:
        expected = reference.call_losses(
            model,
            windows[call.window].text,
            reference.Call(call.position, _CALL, _RESULT),
            is_inline=scoring.placement == "inline",
        )
        for name in ("loss_without_call", "loss_call_without_result", "loss_with_result"):
            found = getattr(losses[call.call_id], name)
            differences.append(abs(found - getattr(expected, name)))
    return max(differences)


def _training(model: LanguageModel, windows: _Windows) -> float:
    """Compare the mean loss of a batch of texts with calls."""
    rows, expected, tokens = [], 0.0, 0
    for window in windows.values():
        places = _places(window)
        kept = [
            KeptCall(str(at), at, window.offsets[at] or 0, _TOOL, _ARGUMENTS, _RESULT, 1.0)
            for at in places
        ]
        row = augmented_segments(model.tokenizer, window.ids, kept)
        rows.append(training_row(row, range(len(window.ids)), max_tokens=model.context_length))
        calls = [reference.Call(at, _CALL, _RESULT) for at in places]
        ids = reference.augmented_ids(model, window.text, calls)
        expected += len(ids) * reference.training_loss(model, ids)
        tokens += len(ids)
    # "float32" says that weights are taken as they are.
    [summed] = summed_losses(model, rows, weights=[EQUAL_WEIGHTS], precision="float32")
    return abs(summed - expected) / tokens


def _decoding(model: LanguageModel, windows: _Windows) -> float:
    """Compare greedy tokens of texts decoded together, teacher-forced."""
    completions = complete(
        model,
        [window.text for window in windows.values()],
        decoding=_DECODING,
        run_calls=lambda asked: [None for _ in asked],
        end_ids=frozenset(),
    )
    (opening,) = model.tokenizer.encode_pieces([" ["])
    differences = []
    for completion in completions:
        prompt = [model.bos_id, *model.tokenizer.encode(completion.prompt)]
        steps = [step for step in completion.trace if step.kind == "sampled"]
        scores = reference.log_probabilities(model, prompt, [step.token for step in steps])
        for step, own in zip(steps, scores, strict=False):
            differences.append(abs(float(own[step.token]) - (step.log_probability or 0.0)))
            own[opening] = -math.inf
            differences.append(float(own.max() - own[step.token]))
    return max(differences)

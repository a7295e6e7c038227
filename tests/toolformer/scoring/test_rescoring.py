"""The second look at what bfloat16 scored, and all losses of a shard in one precision or two."""

import math
from copy import deepcopy
from dataclasses import replace
from statistics import stdev

import pytest
import torch

from tests.fakes import tiny_model
from tests.toolformer.architectures import windows_of
from tests.toolformer.scoring.test_losses import assert_close, score
from toolformer.errors import OutOfMemoryError
from toolformer.filtering import Baseline, CallLosses, decide
from toolformer.forward.checkpoint import Checkpoint
from toolformer.forward.language_model import LanguageModel
from toolformer.scoring import shard_scoring
from toolformer.scoring.call_scorer import ScoringParameters
from toolformer.scoring.loss_form import PAPERS_FORM
from toolformer.scoring.losses import ScoredCall
from toolformer.scoring.rescoring import (
    band,
    calls_of_some_texts,
    cut_windows,
    needs_second_look,
    pays,
)
from toolformer.scoring.shard_scoring import LossesWanted, ShardScoring, ToolScores
from toolformer.scoring.text_losses import TextLosses
from tools.protocol import ToolCall
from tools.syntax import call_pieces

LOWEST = 0.5
WIDTH = 0.125


@pytest.mark.parametrize(
    ("losses", "is_needed"),
    [
        # What comes near the lowest threshold or above it has a second look.
        *(
            ((6.0, 6.0 - (LOWEST - WIDTH + above), 7.0, 5), above > 0)
            for above in (-1.0, -0.01, 0.01, WIDTH, 5.0)
        ),
        # A pruned call is certain, losses that are no numbers are not.
        ((0.3, None, None, 5), False),
        ((3.0, 2.8, None, 5), False),
        ((0.0, 0.0, 0.0, 0), False),
        ((math.nan, None, None, 5), True),
        ((3.0, 2.0, math.inf, 5), True),
    ],
)
def test_what_bfloat16_leaves_open_has_a_second_look(losses, is_needed):
    assert needs_second_look(CallLosses(*losses), LOWEST, WIDTH) == is_needed


def by_reduction(*reductions: float) -> dict[str, CallLosses]:
    """Calls of these loss reductions."""
    return {str(at): CallLosses(5.0, 5.0 - by, 6.0, 5) for at, by in enumerate(reductions)}


@pytest.mark.parametrize(
    ("moves", "expected"),
    [
        # Three standard deviations around zero, or the greatest move where one stands out.
        ([0.1, -0.1, 0.1, -0.1], 0.3),
        ([0.0] * 24 + [-0.5], 0.5),
        ([0.0, 0.0], 0.0),
        ([0.1, math.nan], math.inf),
    ],
)
def test_the_band_is_what_this_model_does_to_these_calls(moves, expected):
    exact = by_reduction(*[1.0] * len(moves))
    rough = by_reduction(*(1.0 + move for move in moves))
    assert band(rough, exact, Baseline.MINIMUM) == pytest.approx(expected)


@pytest.mark.parametrize(("near", "expected"), [(0, True), (6, True), (7, False), (12, False)])
def test_a_first_look_pays_where_half_of_the_calls_need_no_second_one(near, expected):
    reductions = [LOWEST - WIDTH] * near + [LOWEST - WIDTH - 0.01] * (12 - near)
    exact = by_reduction(*reductions).values()
    assert pays(exact, LOWEST, WIDTH, Baseline.MINIMUM) == expected


TEXTS = ("Six crates of 24 make 144 bottles, sold before noon.", "Rain, and 12 more of it.")
CALLS = [
    ScoredCall(
        f"call-{number}",
        (f"document-{number % 2}", 0),
        number,
        ToolCall("Calculator", f"{number} * 24"),
        str(number * 24),
    )
    for number in range(22)
]


# Of six texts, each with 11 calls.
MORE_CALLS = [
    replace(
        call,
        call_id=f"{call.call_id}-{copy}",
        window=(f"document-{2 * copy + number % 2}", 0),
        result=str(24 * number + copy),
    )
    for copy in range(3)
    for number, call in enumerate(CALLS)
]


@pytest.fixture(scope="module")
def by_key(windows):
    return {(window.document_id, window.index): window for window in windows}


def copy_in(dtype: torch.dtype, model: LanguageModel) -> LanguageModel:
    copy = deepcopy(model.model)
    return LanguageModel(copy.to(dtype=dtype), model.tokenizer, name=model.name)


def test_scoring_again_gives_the_losses_of_a_single_pass_and_feeds_less(by_key, tmp_path):
    model = tiny_model()
    whole = score(model, by_key.values(), tmp_path / "a", CALLS)
    early = CALLS[:5]
    windows = cut_windows(by_key, early[::-1], PAPERS_FORM)
    before = model.tokens_fed
    # One row a batch: no padding.
    again = score(model, windows.values(), tmp_path / "b", early, token_budget=1)
    assert_close(again, {call.call_id: whole[call.call_id] for call in early}, 1e-5)
    # Three rows a call, but for equal texts without one; each up to the last token but one of the
    # text that carries weight.
    rows = [[], []] + [
        model.tokenizer.encode_pieces(call_pieces(call.call, result))
        for call in early
        for result in (call.result, None)
    ]
    ends = [4, 3, *(call.position for call in early for _ in range(2))]
    expected = sum(1 + len(row) + end + 4 for row, end in zip(rows, ends, strict=True))
    assert model.tokens_fed - before == expected


def test_only_the_loss_of_a_texts_first_token_is_taken_from_float32(by_key):
    reference = tiny_model()
    model = copy_in(torch.bfloat16, reference)
    texts = list(by_key.values())
    start_losses = reference.losses_of_all([reference.bos_id])
    mended = TextLosses(model, texts, token_budget=200, start_losses=start_losses)
    rough = TextLosses(model, texts, token_budget=200)
    exact = TextLosses(reference, texts, token_budget=200)
    assert len(start_losses) == model.tokenizer.vocabulary_size
    for key, window in by_key.items():
        found = mended.token_losses(key)
        assert found[0] == start_losses[window.ids[0]]
        assert found[0] == pytest.approx(exact.token_losses(key)[0], abs=1e-5)
        assert found[0] != rough.token_losses(key)[0]
        assert found[1:] == rough.token_losses(key)[1:]


WANTED = LossesWanted(lowest_threshold=LOWEST, chance_calls=6, seed=0, is_rescored=True)


def scoring_with(load_in, *texts: str, wanted: LossesWanted = WANTED) -> ShardScoring:
    return ShardScoring(
        load_in=load_in,
        cut_windows=lambda tokenizer: windows_of(tokenizer, *texts),
        parameters=ScoringParameters(token_budget=200),
        wanted=wanted,
        progress=lambda stage, tool: lambda done, total: None,
    )


def below(folder):
    return lambda name, state: Checkpoint(folder / name, fingerprint=state)


def scored(
    folder, *, precision: str = "bfloat16", calls=MORE_CALLS, lowest: float = LOWEST
) -> ToolScores:
    float32 = tiny_model()
    models = {"float32": float32, "bfloat16": copy_in(torch.bfloat16, float32)}
    models[None] = models[precision]
    wanted = replace(WANTED, lowest_threshold=lowest)
    scoring = scoring_with(models.__getitem__, *TEXTS * 3, wanted=wanted)
    return scoring.score("Calculator", calls, below(folder))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_decisions_at_any_threshold_are_those_of_float32(tmp_path, precision):
    model = tiny_model()
    windows = windows_of(model.tokenizer, *TEXTS * 3)
    exact = score(model, windows, tmp_path / "exact", MORE_CALLS, pruning_threshold=LOWEST)
    found = scored(tmp_path, precision=precision)
    assert found.scores.keys() == exact.keys()
    for threshold in (LOWEST, 0.51, 0.55, 0.7, 1.5):
        for call_id, losses in exact.items():
            expected = decide(losses, filtering_threshold=threshold).is_kept
            own = found.scores[call_id].losses
            assert decide(own, filtering_threshold=threshold).is_kept == expected


def test_what_reaches_the_lowest_threshold_is_of_float32_and_has_a_swapped_loss(tmp_path):
    found = scored(tmp_path)
    reached = {key for key, each in found.scores.items() if WANTED.is_reached(each.losses)}
    sample = {key for key, each in found.scores.items() if each.is_in_chance_sample}
    assert 0 < len(reached) < len(MORE_CALLS)
    assert len(sample) == 6
    for call_id, each in found.scores.items():
        is_wanted = call_id in reached | sample
        assert (each.losses.loss_with_swapped_result is not None) == is_wanted
        assert (each.swapped_call_id is not None) == is_wanted
        if is_wanted:
            assert each.precision == "float32"
        if call_id in sample:
            assert each.losses.loss_call_without_result is not None
    assert "bfloat16" in {each.precision for each in found.scores.values()}
    assert [cost.stage for cost in found.costs] == ["scoring", "rescoring", "swapped_results"]


def all_losses(model: LanguageModel, folder, calls) -> ToolScores:
    """Without pruning, so that each call has its reduction, and with no other model to be had."""
    scoring = scoring_with(
        lambda name: model if name is None else pytest.fail("a copy was loaded"),
        *TEXTS,
        wanted=replace(WANTED, is_rescored=model.precision != "bfloat16"),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shard_scoring, "chance_sample_size", lambda calls, max_size: calls)
        found = scoring.score("Calculator", calls, below(folder))
    assert {each.precision for each in found.scores.values()} == {model.precision}
    assert "rescoring" not in {cost.stage for cost in found.costs}
    return found


def reduction(losses: CallLosses) -> float:
    found = decide(losses, filtering_threshold=-math.inf).loss_reduction
    assert found is not None
    return found


def pairs_in(dtype: torch.dtype, reference: LanguageModel, folder, calls):
    """The losses of each call in a precision and in float32."""
    exact = all_losses(reference, folder / f"beside-{dtype}", calls).scores
    found = all_losses(copy_in(dtype, reference), folder / str(dtype), calls).scores
    return [(found[key].losses, exact[key].losses) for key in exact]


def spread(pairs) -> float:
    """How far reductions are off."""
    return stdev(reduction(own) - reduction(whole) for own, whole in pairs)


def test_float16_decides_as_float32_and_needs_no_second_look(tmp_path):
    model = tiny_model()
    pairs = pairs_in(torch.float16, model, tmp_path, CALLS)
    for threshold in (0.0, 0.05, 0.2, 0.5, 1.0):
        for own, whole in pairs:
            decisions = [decide(each, filtering_threshold=threshold) for each in (own, whole)]
            assert decisions[0].is_kept == decisions[1].is_kept
    assert 0 < 4 * spread(pairs) < spread(pairs_in(torch.bfloat16, model, tmp_path, CALLS))


def test_no_room_for_the_float32_copy_says_how_to_do_without(tmp_path):
    model = copy_in(torch.bfloat16, tiny_model())

    def load_in(name):
        if name is None:
            return model
        raise OutOfMemoryError("The 8.0 billion weights take 29.8 GiB in float32.")

    with pytest.raises(OutOfMemoryError, match=r"29\.8 GiB.*scoring\.rescoring to false"):
        scoring_with(load_in, *TEXTS).score("QA", CALLS, below(tmp_path))


def test_no_calls_load_no_model():
    # Texts are cut with its tokenizer.
    scoring = scoring_with(lambda name: pytest.fail("a model was loaded"), *TEXTS)
    assert scoring.score("Calculator", [], lambda *_: pytest.fail("kept")) == ToolScores({})


def test_few_calls_are_scored_in_float32_at_once(tmp_path):
    found = scored(tmp_path, calls=CALLS[:22])
    assert {each.precision for each in found.scores.values()} == {"float32"}
    assert [cost.stage for cost in found.costs] == ["rescoring", "swapped_results"]


@pytest.mark.parametrize(("lowest", "has_first_look"), [(LOWEST, True), (-9.0, False)])
def test_calls_of_some_texts_tell_whether_the_others_have_a_first_look(
    tmp_path, lowest, has_first_look
):
    found = scored(tmp_path, lowest=lowest)
    by_stage = {cost.stage: cost for cost in found.costs}
    # Two of the six texts are scored in both precisions, those of the sample only in float32.
    looked_at = by_stage["scoring"].candidates
    assert 22 < looked_at < len(MORE_CALLS) if has_first_look else looked_at == 22
    in_float32 = sum(each.precision == "float32" for each in found.scores.values())
    assert in_float32 == by_stage["rescoring"].candidates
    assert (in_float32 == len(MORE_CALLS)) == (not has_first_look)


def test_whole_texts_are_measured_and_fewer_calls_than_half():
    some = calls_of_some_texts(MORE_CALLS[::-1])
    texts = {call.window for call in some}
    assert len(some) == 22
    assert {call.call_id for call in some} == {
        call.call_id for call in MORE_CALLS if call.window in texts
    }
    assert calls_of_some_texts(CALLS) == []

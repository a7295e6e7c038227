"""A served model says what the same model says on this machine."""

import dataclasses
import math

import pytest

from tests.fakes import SAMPLING, byte_tokenizer
from tests.toolformer.architectures import windows_of
from tests.toolformer.served.fake_server import served_by
from toolformer.calls import call_open_id
from toolformer.errors import ServedModelError
from toolformer.forward.checkpoint import Checkpoint
from toolformer.forward.model import Branch, Continuation, TextPosition
from toolformer.samples import CallReader, branch_uniforms
from toolformer.sampling import sample_calls
from toolformer.scoring.call_scorer import ScoredCall
from toolformer.scoring.losses import scorer_for
from toolformer.settings.annotation_sections import ScoringSettings
from toolformer.settings.tool_sections import ToolSettings
from tools.protocol import ToolCall

PROMPT = "Calls.\nIn: {text}\nOutput:"
TEXTS = ("Six times seven is 42.", "It rained here.", "The mill of 1869 stands.")
FORCED = byte_tokenizer().encode_pieces([" [", "QA("])


def places_of(windows, open_id):
    return [
        (TextPosition(row, position), token)
        for row, window in enumerate(windows)
        for position in range(len(window.ids))
        for token in (window.ids[position], open_id)
    ]


def groups_of(counts, *, tokens: int) -> list[list[Branch]]:
    """As many branches as are counted at each of some positions, with their random numbers."""
    return [
        [
            Branch(branch_uniforms(7, "d", 0, "QA", at, number, count=tokens))
            for number in range(count)
        ]
        for at, count in counts.items()
    ]


def sample(read, places, groups, *, tokens: int, temperature=1.0, is_finished=None) -> None:
    """Continue calls of QA at places of texts that were read."""
    read.sample(
        places,
        groups,
        forced_ids=FORCED,
        max_new_tokens=tokens,
        temperature=temperature,
        may_finish=lambda token: True,
        is_finished=is_finished or (lambda branch: len(branch.tokens) == tokens),
    )


def call_probabilities(model, windows, *, threshold: float, most: int) -> dict:
    rows = sample_calls(
        model,
        PROMPT,
        windows,
        tool_name="QA",
        takes_arguments=False,
        parse_arguments=str.strip,
        tool=ToolSettings(sampling_threshold=threshold, positions_per_text=most),
        sampling=SAMPLING,
    )
    return {(row.document_id, row.position): row.call_probability for row in rows}


@pytest.mark.parametrize("prompt", [PROMPT, None])
def test_losses_of_texts_equal_those_of_the_same_model_here(local, pair, prompt):
    windows = windows_of(local.tokenizer, *TEXTS)
    places = places_of(windows, call_open_id(local.tokenizer))
    losses = pair[1].read(prompt, windows).losses(places)
    assert losses == pytest.approx(local.read(prompt, windows).losses(places), abs=1e-5)


def test_ranks_and_continuations_equal_those_of_the_same_model_here(local, pair):
    windows, open_id = windows_of(local.tokenizer, *TEXTS), call_open_id(local.tokenizer)
    places = [TextPosition(0, 3), TextPosition(1, 0), TextPosition(2, 5)]
    continuations = [
        Continuation(place, (open_id, 40, 50), windows[place.row].ids[place.position :][:4])
        for place in places
    ]
    ours, theirs = local.read(None, windows), pair[1].read(None, windows)
    assert [rank for rank, _ in theirs.ranks(places, open_id)] == [
        rank for rank, _ in ours.ranks(places, open_id)
    ]
    expected = ours.continuation_losses(continuations)
    for losses, wanted in zip(theirs.continuation_losses(continuations), expected, strict=True):
        assert losses == pytest.approx(wanted, abs=1e-5)


def test_two_tokens_wanted_behind_the_end_of_a_row_have_their_own_losses(local, pair):
    rows, places = [[0, 40, 50], [0, 41]], [(0, 2, 60), (0, 2, 61), (0, 0, 40), (1, 1, 62)]
    expected = local.losses_at(rows, places)
    assert pair[1].losses_at(rows, places) == pytest.approx(expected, abs=1e-5)


def test_losses_without_a_banned_token_are_those_of_the_same_model_here(local, pair):
    windows = windows_of(local.tokenizer, *TEXTS)
    rows = [[0, *window.ids] for window in windows]
    places = [(0, at, rows[0][at + 1]) for at in range(len(rows[0]) - 1)]
    (behind,) = local.contexts(1).next_tokens([rows[0][:3]], open_id=50, count=1)
    for banned in (50, behind.ranked[0]):
        expected = local.losses_at(rows, places, banned=banned)
        assert pair[1].losses_at(rows, places, banned=banned) == pytest.approx(expected, abs=1e-3)


def test_likeliest_tokens_of_a_text_spare_requests_where_the_threshold_lets_them(local, pair):
    fake, served = pair
    windows = windows_of(local.tokenizer, *TEXTS)
    # At some places it is one of the likeliest.
    places = [(TextPosition(0, at), 50) for at in range(1, len(windows[0].ids))]
    exact = local.read(PROMPT, windows).losses(places)
    told = []
    for min_probability, most in ((0.05, None), (0.01, None), (0.0, 2), (0.0, None), (0.0, 3)):
        fake.bodies.clear()
        texts = served.read(PROMPT, windows)
        losses = texts.losses(places, min_probability=min_probability, most=most)
        told.append(len(fake.bodies))
        limit = -math.log(min_probability or 1e-9)
        limit = min(limit, sorted(exact)[(most or 0) - 1])
        for loss, wanted in zip(losses, exact, strict=True):
            assert loss == pytest.approx(wanted, abs=1e-5) or (loss == math.inf and wanted > limit)
    # Of what is left out it is known that it is less likely than the last that is told.
    assert told[0] == told[2] == 1 < told[1] < told[3] < len(places)
    # Too few are told, and the likeliest of the others spare some of the rest.
    assert 1 + 3 <= told[4] < told[3]


def test_places_that_nobody_asked_for_are_not_read(local, pair, monkeypatch):
    fake, served = pair
    answer, row = fake.answer, [0, 40, 50, 60, 70]

    def spoilt(body):
        whole = answer(body)
        whole["choices"][0]["prompt_logprobs"][1:3] = ["no scoring", None]
        return whole

    expected = local.losses_at([row], [(0, 2, 60), (0, 3, 70)])
    monkeypatch.setattr(fake, "answer", spoilt)
    assert served.losses_at([row], [(0, 2, 60), (0, 3, 70)]) == pytest.approx(expected, abs=1e-5)


def test_samples_have_the_log_probabilities_of_the_model_and_end_as_its_own(local, pair):
    windows, places = windows_of(local.tokenizer, *TEXTS), [TextPosition(0, 2), TextPosition(1, 1)]
    groups = groups_of({0: 3, 1: 3}, tokens=6)
    sample(
        pair[1].read(PROMPT, windows),
        places,
        groups,
        tokens=6,
        temperature=0.7,
        is_finished=lambda branch: len(branch.tokens) == 5,
    )
    branches = [
        (place, each) for place, group in zip(places, groups, strict=True) for each in group
    ]
    assert len({tuple(branch.tokens) for _, branch in branches}) > 1
    read = local.read(PROMPT, windows)
    continuations = [
        Continuation(place, tuple(FORCED), tuple(branch.tokens)) for place, branch in branches
    ]
    for losses, (_, branch) in zip(read.continuation_losses(continuations), branches, strict=True):
        assert branch.log_probability == pytest.approx(-sum(losses), abs=1e-4)
        assert len(branch.tokens) == 5 or branch.tokens[-1] == 1


def test_samples_of_a_place_are_one_request_that_ends_them_where_the_call_ends(local, pair):
    fake, served = pair
    windows, groups = windows_of(local.tokenizer, *TEXTS), groups_of({2: 20, 1: 10}, tokens=12)

    def is_read(branch: Branch) -> bool:
        return CallReader(True).is_finished(branch.token_texts)

    fake.bodies.clear()
    texts = served.read(None, windows)
    sample(texts, [TextPosition(0, 2), TextPosition(1, 1)], groups, tokens=12, is_finished=is_read)
    assert sorted(body["n"] for body in fake.bodies) == [10, 20]
    assert {tuple(body["stop"]) for body in fake.bodies} == {("]", "\n")}
    branches = [branch for group in groups for branch in group]
    assert len({tuple(branch.tokens) for branch in branches}) > 10
    assert any(branch.is_finished for branch in branches)
    for branch in branches:
        assert not {"]", "\n"} & set("".join(branch.token_texts[:-1]))
        assert branch.is_finished or branch.tokens[-1] == 1 or len(branch.tokens) == 12


@pytest.mark.parametrize(
    ("fault", "message"),
    [("stops_short", "without the token that completes"), ("no_stops", "stop is not supported")],
)
def test_server_that_leaves_out_the_bracket_of_a_call_is_refused(local, fault, message):
    windows, groups = windows_of(local.tokenizer, *TEXTS), groups_of({2: 20}, tokens=12)
    with served_by(local, faults={fault}) as (_, served):
        texts = served.read(None, windows)
        with pytest.raises(ServedModelError, match=message):
            sample(
                texts,
                [TextPosition(0, 2)],
                groups,
                tokens=12,
                is_finished=lambda branch: CallReader(True).is_finished(branch.token_texts),
            )


def test_call_positions_and_probabilities_equal_those_of_the_same_model_here(local, pair):
    windows = windows_of(local.tokenizer, *TEXTS)
    for threshold, most in ((0.0, 50), (0.05, 50), (0.003, 1), (0.0, 2)):
        theirs, ours = (
            call_probabilities(model, windows, threshold=threshold, most=most)
            for model in (pair[1], local)
        )
        assert theirs == pytest.approx(ours, abs=1e-5)
    assert len(ours) == 2 * len(TEXTS)


@pytest.mark.parametrize("placement", ["prefix", "inline"])
def test_losses_of_calls_equal_those_of_the_same_model_here(local, pair, tmp_path, placement):
    windows = windows_of(local.tokenizer, *TEXTS)
    by_key = {(window.document_id, window.index): window for window in windows}
    calls = [
        ScoredCall(f"{number}-{at}", key, at, ToolCall("QA", f"what {at}?"), "42")
        for number, key in enumerate(by_key)
        for at in (0, 4, 9)
    ]
    scoring = ScoringSettings(
        placement=placement, empty_result_keeps_arrow=False, lowest_threshold=0
    )

    def scored(model):
        scorer = scorer_for(model, by_key, scoring)
        return scorer.score(
            calls,
            exact={call.call_id for call in calls},
            checkpoint=Checkpoint(tmp_path / str(id(model)), fingerprint=""),
            progress=lambda *_: None,
        )

    ours, theirs = scored(local), scored(pair[1])
    for call in calls:
        told = dataclasses.asdict(theirs[call.call_id])
        assert told == pytest.approx(dataclasses.asdict(ours[call.call_id]), abs=1e-5)

"""Equal logits, which half precision makes frequent, and what an open call keeps of a step's."""

import itertools
import math
import random
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import ScriptedModel, decoding_with, tiny_model
from toolformer.decoding.call_gains import call_chances
from toolformer.decoding.completions import MinCallProbability
from toolformer.decoding.decoder import complete
from toolformer.decoding.decoding_batch import DecodingBatch
from toolformer.decoding.decoding_row import DecodingRow, RowSettings
from toolformer.decoding.triggers import CallChance, may_open
from toolformer.forward.language_model import LanguageModel
from toolformer.forward.next_tokens import next_tokens, ranks
from toolformer.forward.windows import Window

LEAST = st.sampled_from([0.0, 0.003, 0.008, 1.0])
PROMPTS = ["one", "two", "a third one"]


class FewScores(ScriptedModel):
    """Has few different logits, by chance for each context; it writes ASCII alone."""

    def __init__(self, seed: int, scores: int):
        super().__init__([])
        self.seed, self.choices = seed, [float(score) for score in range(scores)]
        tokens = range(2, self.tokenizer.vocabulary_size)
        self.written = [token for token in tokens if self.tokenizer.token_text(token).isascii()]

    def _scores(self, context: str) -> torch.Tensor:
        draw = random.Random(f"{self.seed} {context}")
        scores = torch.full((self.tokenizer.vocabulary_size,), -100.0)
        scores[self.written] = torch.tensor(draw.choices(self.choices, k=len(self.written)))
        return scores


limited = partial(decoding_with, max_new_tokens=4, max_call_tokens=4, max_result_tokens=4)


def unanswered(requests):
    return [None for _ in requests]


@pytest.mark.parametrize(
    ("top_p", "temperature", "banned", "left"),
    [
        (1, 1, None, {0, 1, 2, 3, 4}),
        (0.95, 1, None, {0, 1, 2, 3, 4}),
        (0.89, 1, None, {0, 1, 2, 3}),
        # Of equal ones the lowest comes first.
        (0.7, 1, None, {0, 1, 3}),
        (0.6, 1, None, {1, 3}),
        (0.49, 1, None, {1}),
        (0, 1, None, {1}),
        # At this temperature 0.334, 0.183, 0.167, 0.167 and 0.149.
        (0.6, 2, None, {0, 1, 3}),
        (0.6, 1, 3, {1}),
        (0.49, 1, 1, {3}),
    ],
)
def test_top_p_leaves_as_few_of_the_likeliest_as_have_so_much_probability(
    top_p, temperature, banned, left
):
    logits = torch.tensor([[0.125, 0.5, 0.125, 0.15, 0.1]]).log()
    (expected,) = next_tokens(logits, open_id=0, count=2)
    uniforms = [number / 50 for number in range(50)]
    drawn = {expected.sampled(each, temperature, top_p=top_p, banned=banned) for each in uniforms}
    assert drawn == left
    # What is told of a token is of the whole distribution.
    assert expected.log_probability(1) == pytest.approx(math.log(0.5))


@given(
    st.lists(st.lists(st.integers(0, 3), min_size=9, max_size=9), min_size=1, max_size=4),
    st.integers(1, 12),
    st.integers(0, 8),
)
def test_the_likeliest_of_equal_tokens_are_the_lowest_in_every_batch(rows, count, token):
    logits = torch.tensor(rows, dtype=torch.float32)
    expected = next_tokens(logits, open_id=token, count=count)
    for row, each in zip(rows, expected, strict=True):
        assert each.ranked == sorted(range(9), key=lambda other: (-row[other], other))[:count]
        assert each.call_rank == 1 + sum(other > row[token] for other in row)
        logs = torch.tensor(row, dtype=torch.float32).log_softmax(dim=0)
        wanted = [*each.ranked, token]
        assert [*each.log_probabilities, each.call_log_probability] == pytest.approx(
            logs[wanted].tolist(), abs=1e-5
        )
    alone = [next_tokens(row[None], open_id=token, count=count)[0].ranked for row in logits]
    assert [each.ranked for each in expected] == alone


@given(
    seed=st.integers(0, 1000),
    scores=st.integers(1, 60),
    top_k=st.integers(1, 150),
    least=st.builds(MinCallProbability, LEAST, LEAST, st.just({})),
)
def test_among_equal_tokens_a_call_opens_where_the_text_without_calls_says(
    seed, scores, top_k, least
):
    rule = {"call_top_k": top_k, "min_call_probability": least}
    model = FewScores(seed, scores)
    run = {"decoding": limited(**rule), "run_calls": unanswered}
    plain = complete(model, PROMPTS, decoding=limited(tools=()), run_calls=unanswered)
    opened = complete(model, PROMPTS, **run)
    for before, after in zip(plain, opened, strict=True):
        chances = [CallChance(step.call_rank, step.call_probability) for step in before.trace]
        kinds = [step.kind for step in after.trace]
        place = kinds.index("undone") if "undone" in kinds else None
        # It names no tool, so only where k alone decides.
        assert place == next(
            (
                at
                for at, chance in enumerate(chances)
                if (least.in_text if at else least.behind_prompt) == 0
                and may_open(*chance, call_top_k=top_k, min_call_probability=0)
            ),
            None,
        )
        # No call has a result, so the text is the same.
        assert after.token_ids == before.token_ids
    assert complete(model, PROMPTS, without_calls=plain, **run) == opened
    assert [complete(model, [prompt], **run)[0] for prompt in PROMPTS] == opened


def test_a_call_goes_on_with_the_lowest_of_equal_tokens():
    model = FewScores(0, 1)
    first, other = (model.tokenizer.encode(text)[0] for text in "AB")
    for blocked, expected in [((), first), (("A",), other), (("Ab",), other), (("C",), first)]:
        # All are equal but what stands in front of A.
        model._scores = lambda _: torch.zeros(model.tokenizer.vocabulary_size).index_fill(
            0, torch.arange(first), -1.0
        )
        chosen = limited(tools=("B", *blocked), blocked_tools=blocked, call_top_k=300)
        (completion,) = complete(model, ["x"], decoding=chosen, run_calls=unanswered)
        assert [step.token for step in completion.trace if step.kind == "undone"][1] == expected


@pytest.mark.parametrize("scale", [1.0, 1e-9], ids=["clear", "equal after the softmax"])
def test_ranks_count_logits_alike_where_texts_are_read_and_where_they_are_written(
    monkeypatch, scale
):
    model = tiny_model(seed=4)
    monkeypatch.setattr(model, "logits", lambda states: scale * LanguageModel.logits(model, states))
    (plain,) = complete(model, ["a"], decoding=limited(tools=()), run_calls=unanswered)
    ids = (*model.tokenizer.encode("a"), *plain.token_ids)
    window = Window("document", 0, 0, "", ids, tuple(range(len(ids))))
    (chances,) = call_chances(model, [window], token_budget=64, progress=lambda *_: None)
    traced = [step.call_rank for step in plain.trace]
    assert [chance.rank for chance in chances[1:]] == traced
    assert len(set(traced)) > 2


@given(st.lists(st.sampled_from([0.0, 1.0, 1.0000001, 20.0]), min_size=2, max_size=9))
def test_a_rank_counts_the_tokens_that_are_likelier(row):
    logits = torch.tensor([row])
    for token, own in enumerate(row := logits[0].tolist()):
        assert ranks(logits, token)[0].tolist() == [1 + sum(other > own for other in row)]


def test_an_open_call_holds_the_logits_of_its_own_row_alone():
    model = tiny_model()
    settings = RowSettings(limited(call_top_k=10_000, max_new_tokens=40))
    rows = [
        DecodingRow(number, prompt, [0, *model.tokenizer.encode(prompt)], model.tokenizer, settings)
        for number, prompt in enumerate(PROMPTS)
    ]
    batch = DecodingBatch(model, frozenset())
    batch.enter(rows, model.contexts(len(rows)))
    held = []
    for _ in itertools.repeat(None, 3):
        held += [row.open_call.before.logits for row in rows if row.open_call is not None]
        batch.step()
    assert held
    for logits in held:
        assert logits.untyped_storage().nbytes() == 4 * model.tokenizer.vocabulary_size

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.toolformer.architectures import windows_of
from toolformer import reference
from toolformer.forward.model import Branch, TextPosition
from toolformer.forward.next_tokens import sample_tokens
from toolformer.forward.prefill import ReadTexts
from toolformer.samples import CallReader

PROMPT = "Calls.\nIn: {text}\nOutput:"
TEXTS = ("Six times seven is 42.", "Rain.", "„É“ 🌋 [sic]")
# Text and position, both ends of a text included.
PLACES = [(0, 0), (0, 7), (0, 21), (1, 4), (2, 0), (2, 14)]
# In one text no branch is padded.
OF_ONE_TEXT = PLACES[:3]
FORCED = [" [", "QA("]


def read_texts(model, texts=TEXTS) -> ReadTexts:
    windows = windows_of(model.tokenizer, *texts)
    with torch.inference_mode():
        return model.read(PROMPT, windows)


def branch_groups(places=PLACES, *, per_position=3, count=8):
    groups = []
    for text, position in places:
        numbers = np.random.default_rng([text, position])
        groups.append([Branch(numbers.random(count)) for _ in range(per_position)])
    return groups


def sample(model, texts, groups, places=PLACES, *, max_new_tokens=8, is_finished=None):
    texts.sample(
        places,
        groups,
        forced_ids=model.tokenizer.encode_pieces(FORCED),
        max_new_tokens=max_new_tokens,
        temperature=1.0,
        may_finish=lambda token: True,
        is_finished=is_finished or (lambda branch: False),
    )


def nodes_fed(groups, *, last_step: int) -> int:
    """Distinct beginnings of branches, position by position: each is fed once."""
    return sum(
        len({tuple(branch.tokens[:step]) for branch in group if len(branch.tokens) > step})
        for group in groups
        for step in range(1, last_step + 1)
    )


def assert_literal(model, groups, *, tolerance=1e-4) -> None:
    for (text, position), group in zip(PLACES, groups, strict=True):
        for branch in group:
            context = reference.sampling_context(
                model, PROMPT, TEXTS[text], position, pieces=FORCED
            )
            expected = reference.log_probability(model, context, branch.tokens)
            assert branch.log_probability == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize("count", [8, 40])
def test_log_probabilities_equal_teacher_forced_ones(each_model, count):
    groups = branch_groups(per_position=3 if count == 8 else 2, count=count)
    is_closed = CallReader(is_constrained=True).is_finished
    rule = (lambda branch: is_closed(branch.token_texts)) if count == 8 else None
    sample(each_model, read_texts(each_model), groups, max_new_tokens=count, is_finished=rule)
    assert len({tuple(branch.tokens) for group in groups for branch in group}) > len(PLACES)
    assert max(len(branch.tokens) for group in groups for branch in group) == count
    assert_literal(each_model, groups, tolerance=1e-4 if count == 8 else 1e-3)


def test_branches_with_the_same_tokens_so_far_are_fed_once(each_model):
    texts, groups = read_texts(each_model), branch_groups()
    for group in groups:
        for branch in group[1:]:
            branch.uniforms[:4] = group[0].uniforms[:4]
    alone = [[group[0]] for group in branch_groups()]
    sample(each_model, texts, groups)
    sample(each_model, read_texts(each_model), alone)
    for group, (first,) in zip(groups, alone, strict=True):
        assert group[0].tokens == first.tokens
        assert len({tuple(branch.tokens[:4]) for branch in group}) == 1
    assert any(len({tuple(branch.tokens) for branch in group}) == 3 for group in groups)
    assert_literal(each_model, groups)
    # One node per position for the first four tokens, whatever the number of branches.
    assert nodes_fed(groups, last_step=4) == 4 * len(PLACES)


def test_chunks_of_the_output_layer_do_not_mix_up_branches(llama, monkeypatch):
    monkeypatch.setattr(type(llama), "logit_rows", 2)
    texts, groups = read_texts(llama), branch_groups(per_position=5)
    for group in groups:
        # The first and the last of a position stay one node for long, with others between them.
        group[-1].uniforms[:5] = group[0].uniforms[:5]
    sample(llama, texts, groups)
    assert all(group[0].tokens[:5] == group[-1].tokens[:5] for group in groups)
    assert_literal(llama, groups)


@pytest.fixture
def waits(monkeypatch) -> list[torch.Tensor]:
    """Return the tensors of which numbers came to the host."""
    found = []

    def counted(method):
        return lambda tensor, *given: found.append(tensor) or method(tensor, *given)

    for name in ("tolist", "item", "nonzero", "cpu", "__int__", "__float__", "__bool__"):
        monkeypatch.setattr(torch.Tensor, name, counted(getattr(torch.Tensor, name)))
    monkeypatch.setattr(torch, "nonzero", counted(torch.nonzero))
    return found


@pytest.mark.parametrize("logit_rows", [4, 1000])
def test_numbers_come_to_the_host_once_a_question(llama, monkeypatch, waits, logit_rows):
    monkeypatch.setattr(type(llama), "logit_rows", logit_rows)
    texts = read_texts(llama, TEXTS[:1])
    places = [TextPosition(0, position) for position in range(20)]
    logits = torch.randn(9, 200)
    for question in (
        lambda: texts.losses([(place, 5) for place in places]),
        lambda: texts.ranks(places, 5),
        lambda: sample_tokens(logits, np.linspace(0, 0.9, 9), rows=np.arange(9), temperature=1.0),
    ):
        waits.clear()
        question()
        assert len(waits) == 1


def test_finished_branches_are_not_fed_any_further(llama):
    texts, groups = read_texts(llama, TEXTS[:1]), branch_groups(OF_ONE_TEXT)
    # Branches of the second position stop at once.
    limits = [[1 if at == 7 else 2 + number for number in range(3)] for _, at in OF_ONE_TEXT]
    limit_of = {
        id(branch): limit
        for group, of_group in zip(groups, limits, strict=True)
        for branch, limit in zip(group, of_group, strict=True)
    }
    before = llama.tokens_fed
    sample(
        llama,
        texts,
        groups,
        OF_ONE_TEXT,
        is_finished=lambda branch: len(branch.tokens) >= limit_of[id(branch)],
    )
    assert [[len(branch.tokens) for branch in group] for group in groups] == limits
    assert all(branch.is_finished for group in groups for branch in group)
    forced = len(OF_ONE_TEXT) * len(llama.tokenizer.encode_pieces(FORCED))
    assert llama.tokens_fed - before == forced + nodes_fed(groups, last_step=3)


def test_texts_whose_branches_have_ended_are_not_fed_any_further(llama):
    texts, groups = read_texts(llama), branch_groups(per_position=1)
    going_on = {id(branch) for group in groups[4:] for branch in group}
    before = llama.tokens_fed
    sample(llama, texts, groups, is_finished=lambda branch: id(branch) not in going_on)
    # Three positions of the first text set the width of the first feed; the last text has two.
    forced = 3 * len(TEXTS) * len(llama.tokenizer.encode_pieces(FORCED))
    assert llama.tokens_fed - before == forced + 7 * 2
    assert_literal(llama, groups)


def literal_token(logits: torch.Tensor, uniform: float, temperature: float) -> int:
    """Where the number falls when the probabilities are laid side by side, tail in id order."""
    probabilities = torch.softmax(logits.double() / temperature, dim=-1)
    ranked = probabilities.argsort(descending=True)
    order = torch.cat([ranked[:256], ranked[256:].sort().values])
    edges = probabilities[order].cumsum(0)
    return int(order[int((edges <= uniform).sum().clamp(max=len(order) - 1))])


@pytest.mark.parametrize("vocabulary", [3, 256, 257, 700])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.7])
def test_sampling_inverts_the_cumulative_distribution(vocabulary, temperature):
    generator = torch.Generator().manual_seed(vocabulary)
    logits = torch.randn(40, vocabulary, generator=generator)
    uniforms = np.random.default_rng(vocabulary).random(40)
    tokens, log_probabilities = sample_tokens(
        logits, uniforms, rows=np.arange(40), temperature=temperature
    )
    expected = [
        literal_token(row, uniform, temperature)
        for row, uniform in zip(logits, uniforms, strict=True)
    ]
    assert tokens.tolist() == expected
    # Whatever the temperature of the draw, the model's own probability is reported.
    own = torch.log_softmax(logits, dim=-1)
    assert log_probabilities == pytest.approx(
        [float(own[row, token]) for row, token in enumerate(tokens)], abs=1e-5
    )


def token_drawn_alone(logits: torch.Tensor, uniform: float, temperature: float) -> int:
    """Return the token of one row, shape `(1, vocabulary)`, by itself."""
    (scaled,), (normaliser,) = logits / temperature, (logits / temperature).logsumexp(dim=-1)
    top, order = scaled.topk(256)
    cumulated = torch.exp(top.double() - normaliser.double()).cumsum(0)
    place = int(torch.searchsorted(cumulated, uniform, right=True))
    if place < len(order):
        return int(order[place])
    probabilities = torch.exp(scaled.double() - normaliser.double())
    probabilities[order] = 0.0
    remaining = uniform - float(cumulated[-1])
    token = int(torch.searchsorted(probabilities.cumsum(0), remaining, right=True))
    return token if token < len(scaled) else int(order[0])


@given(
    seed=st.integers(0, 1000),
    spread=st.sampled_from([0.0, 0.5, 2.0, 6.0]),
    temperature=st.sampled_from([0.7, 1.0]),
    branches=st.lists(st.tuples(st.integers(0, 3), st.floats(0, 1, exclude_max=True)), min_size=1),
)
def test_tokens_drawn_together_equal_those_drawn_alone(seed, spread, temperature, branches):
    logits = torch.randn(4, 600, generator=torch.Generator().manual_seed(seed)) * spread
    rows, uniforms = map(np.array, zip(*branches, strict=True))
    tokens, log_probabilities = sample_tokens(logits, uniforms, rows=rows, temperature=temperature)
    assert tokens.tolist() == [
        token_drawn_alone(logits[row : row + 1], uniform, temperature) for row, uniform in branches
    ]
    own = (logits - logits.logsumexp(dim=1, keepdim=True))[rows, tokens]
    assert log_probabilities.tolist() == own.tolist()


def test_all_draws_beyond_the_likeliest_come_to_the_host_at_once(waits):
    sample_tokens(
        torch.zeros(9, 700), np.linspace(0, 0.99, 90), rows=np.arange(90) % 9, temperature=1.0
    )
    assert len(waits) == 2


@pytest.mark.parametrize("vocabulary", [5, 256, 700])
def test_the_ends_of_the_unit_interval_draw_possible_tokens(vocabulary):
    logits = torch.randn(50, vocabulary, generator=torch.Generator().manual_seed(1)) * 3
    logits[:, 2] = -torch.inf
    lowest, _ = sample_tokens(logits, np.zeros(50), rows=np.arange(50), temperature=1.0)
    assert lowest.tolist() == logits.argmax(dim=-1).tolist()
    highest, log_probabilities = sample_tokens(
        logits, np.full(50, np.nextafter(1.0, 0.0)), rows=np.arange(50), temperature=1.0
    )
    assert all(0 <= token < vocabulary for token in highest)
    assert np.isfinite(log_probabilities).all()
    assert 2 not in highest

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import DynamicCache

from tests import literal
from toolformer.branches import Branch, sample_branches, sample_tokens
from toolformer.prefix_cache import causal_mask
from toolformer.samples import CallReader

PROMPT = "Calls.\nIn: {text}\nOutput:"
TEXTS = ("Six times seven is 42.", "Rain.", "„É“ 🌋 [sic]")
# Text and position, both ends of a text included.
PLACES = [(0, 0), (0, 7), (0, 21), (1, 4), (2, 0), (2, 14)]
FORCED = [" [", "QA("]


@dataclass
class StopAfter:
    """Stops after so many tokens."""

    count: int

    def is_finished(self, token_texts):
        return len(token_texts) >= self.count


def read_texts(model, texts=TEXTS):
    """Cache of whole prompts with texts, right-padded, and the length of each prompt."""
    prompts = [literal.prompt_ids(model, PROMPT, text) for text in texts]
    rows = [
        prompt + model.tokenizer.encode(text) for prompt, text in zip(prompts, texts, strict=True)
    ]
    width = max(map(len, rows))
    input_ids = torch.zeros((len(rows), width), dtype=torch.long)
    for index, row in enumerate(rows):
        input_ids[index, : len(row)] = torch.tensor(row)
    cache = DynamicCache()
    with torch.inference_mode():
        model.hidden_states(input_ids, cache=cache, attention_mask=causal_mask(width, 0, model))
    return cache, [len(prompt) for prompt in prompts]


def branch_groups(lengths, places=PLACES, *, per_position=3, count=8, rows=None):
    groups = []
    for text, position in places:
        row = text if rows is None else rows[text]
        numbers = np.random.default_rng([text, position])
        groups.append(
            [
                Branch(row, lengths[row] + position, numbers.random(count))
                for _ in range(per_position)
            ]
        )
    return groups


def sample(model, cache, groups, *, max_new_tokens=8, stop_rule=None, temperature=1.0):
    with torch.inference_mode():
        sample_branches(
            model,
            cache,
            groups,
            forced_ids=model.tokenizer.encode_pieces(FORCED),
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            stop_rule=stop_rule or StopAfter(max_new_tokens),
        )


def test_log_probabilities_equal_teacher_forced_ones(each_model):
    cache, lengths = read_texts(each_model)
    groups = branch_groups(lengths)
    sample(each_model, cache, groups, stop_rule=CallReader(is_constrained=True))
    assert len({tuple(branch.tokens) for group in groups for branch in group}) > len(PLACES)
    for (text, position), group in zip(PLACES, groups, strict=True):
        for branch in group:
            expected = literal.branch_log_probability(
                each_model, PROMPT, TEXTS[text], position, FORCED, branch.tokens
            )
            assert branch.log_probability == pytest.approx(expected, abs=1e-4)


def test_sampled_tokens_equal_those_of_sampling_one_by_one(each_model):
    cache, lengths = read_texts(each_model)
    groups = branch_groups(lengths, per_position=2)
    reader = CallReader(is_constrained=True)
    sample(each_model, cache, groups, stop_rule=reader)
    for (text, position), group in zip(PLACES, groups, strict=True):
        for branch in group:
            assert branch.tokens == literal.sample_one(
                each_model,
                PROMPT,
                TEXTS[text],
                position,
                forced=FORCED,
                uniforms=list(branch.uniforms),
                is_finished=reader.is_finished,
            )


def test_a_branch_does_not_depend_on_its_neighbours(each_model):
    cache, lengths = read_texts(each_model)
    together = branch_groups(lengths)
    sample(each_model, cache, together)
    for place, group in zip(PLACES, together, strict=True):
        cache, lengths = read_texts(each_model, [TEXTS[place[0]]])
        (alone,) = branch_groups(lengths, [place], rows={place[0]: 0})
        sample(each_model, cache, [alone])
        assert [branch.tokens for branch in alone] == [branch.tokens for branch in group]
        assert [branch.log_probability for branch in alone] == pytest.approx(
            [branch.log_probability for branch in group], abs=1e-4
        )


def test_forced_tokens_are_fed_once_per_position_and_the_last_sampled_one_never(llama):
    cache, lengths = read_texts(llama)
    forced = len(llama.tokenizer.encode_pieces(FORCED))
    before = llama.tokens_fed
    sample(llama, cache, branch_groups(lengths), max_new_tokens=1, stop_rule=StopAfter(100))
    # Three rows as wide as the one with the most positions, which has three.
    assert llama.tokens_fed - before == 3 * (3 * forced)
    cache, lengths = read_texts(llama)
    before = llama.tokens_fed
    sample(llama, cache, branch_groups(lengths), max_new_tokens=4, stop_rule=StopAfter(100))
    assert llama.tokens_fed - before == 3 * (3 * forced) + 3 * 3 * (3 * 3)


def test_finished_branches_are_not_fed_any_further(llama):
    class StopByRow:
        """Branches of the second text stop at once."""

        def is_finished(self, token_texts):
            return len(token_texts) >= self.limits[id(token_texts)]

    cache, lengths = read_texts(llama)
    groups = branch_groups(lengths)
    rule = StopByRow()
    rule.limits = {
        id(branch.token_texts): 1 if branch.row == 1 else 2 + number
        for group in groups
        for number, branch in enumerate(group)
    }
    before = llama.tokens_fed
    sample(llama, cache, groups, stop_rule=rule)
    for group in groups:
        for number, branch in enumerate(group):
            assert len(branch.tokens) == (1 if branch.row == 1 else 2 + number)
            assert branch.is_finished
    forced = len(llama.tokenizer.encode_pieces(FORCED))
    # Then 3, 2 and 1 branches at each of the three positions of the first text.
    assert llama.tokens_fed - before == 3 * 3 * forced + 3 * 3 * (3 + 2 + 1)


def test_no_branches_feed_nothing(llama):
    cache, _ = read_texts(llama)
    before = llama.tokens_fed
    sample(llama, cache, [])
    sample(llama, cache, [[], []])
    assert llama.tokens_fed == before


def test_the_stop_rule_sees_the_texts_of_the_tokens(llama):
    cache, lengths = read_texts(llama)
    groups = branch_groups(lengths)
    sample(llama, cache, groups, max_new_tokens=3)
    for group in groups:
        for branch in group:
            assert branch.token_texts == [llama.tokenizer.decode([t]) for t in branch.tokens]


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
    tokens, log_probabilities = sample_tokens(logits, uniforms, temperature=temperature)
    expected = [
        literal_token(row, uniform, temperature)
        for row, uniform in zip(logits, uniforms, strict=True)
    ]
    assert tokens == expected
    # Whatever the temperature of the draw, the model's own probability is reported.
    own = torch.log_softmax(logits, dim=-1)
    assert log_probabilities == pytest.approx(
        [float(own[row, token]) for row, token in enumerate(tokens)], abs=1e-5
    )


@settings(deadline=None)
@given(seed=st.integers(0, 2**16), uniform=st.floats(0, 1, exclude_max=True, width=32))
def test_a_number_of_the_tail_draws_a_token_of_the_tail(seed, uniform):
    logits = torch.randn(1, 600, generator=torch.Generator().manual_seed(seed)) * 0.3
    probabilities = torch.softmax(logits[0].double(), dim=-1)
    ranked = probabilities.argsort(descending=True).tolist()
    head = float(probabilities[ranked[:256]].sum())
    inside = head + (1 - head) * (0.001 + 0.998 * uniform)
    (token,), _ = sample_tokens(logits, np.array([inside]), temperature=1.0)
    assert token in ranked[256:]
    before = sum(float(probabilities[other]) for other in ranked[256:] if other < token)
    begin, end = head + before, head + before + float(probabilities[token])
    assert begin - 1e-6 <= inside <= end + 1e-6


def test_frequencies_of_evenly_spread_numbers_are_the_probabilities():
    logits = torch.randn(1, 300, generator=torch.Generator().manual_seed(0)) * 2
    count = 20_000
    uniforms = (np.arange(count) + 0.5) / count
    tokens, _ = sample_tokens(logits.expand(count, -1), uniforms, temperature=1.0)
    frequencies = np.bincount(tokens, minlength=300) / count
    probabilities = torch.softmax(logits[0].double(), dim=-1).numpy()
    np.testing.assert_allclose(frequencies, probabilities, atol=1.5 / count)


@pytest.mark.parametrize("vocabulary", [5, 256, 700])
def test_the_ends_of_the_unit_interval_draw_possible_tokens(vocabulary):
    logits = torch.randn(50, vocabulary, generator=torch.Generator().manual_seed(1)) * 3
    logits[:, 2] = -torch.inf
    lowest, _ = sample_tokens(logits, np.zeros(50), temperature=1.0)
    assert lowest == logits.argmax(dim=-1).tolist()
    highest, log_probabilities = sample_tokens(
        logits, np.full(50, np.nextafter(1.0, 0.0)), temperature=1.0
    )
    assert all(0 <= token < vocabulary for token in highest)
    assert np.isfinite(log_probabilities).all()
    assert 2 not in highest

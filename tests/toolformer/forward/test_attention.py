import pytest
import torch

from toolformer.forward.attention import (
    PackedRows,
    chunked_causal_attention,
    fused_causal_attention,
)


def tensors(heads, key_heads, queries, keys, size=8):
    numbers = torch.Generator().manual_seed(heads * keys + queries)
    return (
        torch.randn(heads, queries, size, generator=numbers),
        torch.randn(key_heads, keys, size, generator=numbers),
        torch.randn(key_heads, keys, size, generator=numbers),
    )


def by_formula(query, keys, values, scaling):
    """One head and one query at a time; shape (queries, heads, head size)."""
    heads, queries, _ = query.shape
    shared = heads // keys.shape[0]
    before = keys.shape[1] - queries
    rows = []
    for place in range(queries):
        seen = before + place + 1
        of_place = []
        for head in range(heads):
            scores = keys[head // shared, :seen] @ query[head, place] * scaling
            of_place.append(torch.softmax(scores, dim=0) @ values[head // shared, :seen])
        rows.append(torch.stack(of_place))
    return torch.stack(rows)


@pytest.mark.parametrize("attention", [chunked_causal_attention, fused_causal_attention])
@pytest.mark.parametrize(
    ("heads", "key_heads", "queries", "keys"),
    [(4, 2, 7, 7), (4, 4, 3, 9), (6, 2, 1, 5), (2, 1, 300, 310), (3, 3, 1, 1)],
)
def test_both_forms_of_causal_attention_follow_the_formula(
    attention, heads, key_heads, queries, keys
):
    query, key, value = tensors(heads, key_heads, queries, keys)
    both = attention(
        torch.stack([query, 2 * query]), torch.stack([key, -key]), torch.stack([value] * 2), 0.3
    )
    for row, signed in ((0, (query, key)), (1, (2 * query, -key))):
        torch.testing.assert_close(both[row], by_formula(*signed, value, 0.3), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "lengths", [[3, 1, 5], [9], [3, 3, 3], [4, 4, 1], [5, 4], [1] * 9, [2, 3, 4]]
)
def test_packed_rows_see_the_prefix_and_themselves_alone(lengths):
    prefix = tuple(each[None] for each in tensors(2, 2, 4, 4)[1:])
    layer = (prefix[0][0], prefix[1][0])
    query, key, value = tensors(4, 2, 9, 9)
    plan = PackedRows(lengths, prefix=[layer], keeps=True)
    attended = plan.attend(0, query, key, value, 0.5)
    start = 0
    for length in lengths:
        rows = slice(start, start + length)
        expected = by_formula(
            query[:, rows],
            torch.cat([layer[0], key[:, rows]], dim=1),
            torch.cat([layer[1], value[:, rows]], dim=1),
            0.5,
        )
        torch.testing.assert_close(attended[rows], expected, atol=1e-5, rtol=1e-5)
        start += length
    assert torch.equal(plan.kept[0][0], key)
    assert torch.equal(plan.kept[0][1], value)


def test_nothing_is_kept_unless_asked_for():
    query, key, value = tensors(2, 2, 3, 3)
    plan = PackedRows([3])
    plan.attend(0, query, key, value, 0.5)
    assert plan.kept == []

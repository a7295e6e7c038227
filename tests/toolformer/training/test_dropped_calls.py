from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tests.toolformer.training.test_training_set import call, text
from toolformer.augmentation import KeptCall
from toolformer.forward.windows import WindowKey
from toolformer.training.dropped_calls import choose_dropped_calls


def dropped(name: str, tool: str, position: int) -> KeptCall:
    return replace(call(tool, position), call_id=name, loss_reduction=-0.5)


def tools_of(calls) -> Counter:
    return Counter(each.tool for each in calls)


def test_each_text_gets_as_many_of_a_tool_as_it_has_kept():
    texts = [text("a", "QA", "QA", "MT"), text("b", "QA")]
    pool = {
        each.key: [
            dropped(f"{each.document_id} {tool} {place}", tool, place + start)
            for tool, start in (("QA", 0), ("MT", 10))
            for place in range(6)
        ]
        for each in texts
    }
    control = choose_dropped_calls(texts, pool, seed=1)
    assert {document: tools_of(calls) for (document, _), calls in control.calls.items()} == {
        "a": {"QA": 2, "MT": 1},
        "b": {"QA": 1},
    }
    assert control.counts == control.wanted == {"QA": 3, "MT": 1}
    assert control != choose_dropped_calls(texts, pool, seed=2)


def test_the_tool_with_the_fewest_calls_gets_its_places():
    """For every seed: by chance it would lose its only place in half of the cases."""
    texts = [text("a", "Calculator", "WikiSearch")]
    pool = {
        ("a", 0): [
            dropped("rare", "WikiSearch", 3),
            *(dropped(f"common {place}", "Calculator", place) for place in (3, 4)),
        ]
    }
    for seed in range(20):
        control = choose_dropped_calls(texts, pool, seed=seed)
        names = [each.call_id for each in control.calls["a", 0]]
        assert names == ["rare", "common 4"]


TOOLS = st.sampled_from(["QA", "Calculator", "MT"])
training_sets = st.lists(st.lists(TOOLS, max_size=4), max_size=5).map(
    lambda rows: [text(f"d{number}", *tools) for number, tools in enumerate(rows)]
)
pools = st.lists(st.tuples(st.integers(0, 4), TOOLS, st.integers(0, 5)), max_size=25).map(
    lambda rows: [
        ((f"d{document}", 0), dropped(str(number), tool, position))
        for number, (document, tool, position) in enumerate(rows)
    ]
)


def by_text(rows):
    pool: dict[WindowKey, list[KeptCall]] = {}
    for key, each in rows:
        pool.setdefault(key, []).append(each)
    return pool


@given(training_sets, pools, st.integers(0, 9), st.randoms())
def test_the_rules_hold_for_any_calls(texts, rows, seed, chance):
    control = choose_dropped_calls(texts, by_text(rows), seed=seed)
    keys = {each.key for each in texts}
    chosen = [each for calls in control.calls.values() for each in calls]
    assert control.calls.keys() <= keys
    assert all(control.calls.values())
    for key, calls in control.calls.items():
        positions = [each.position for each in calls]
        assert positions == sorted(set(positions))
        assert {(key, each) for each in calls} <= set(rows)
    wanted = tools_of(each for one in texts for each in one.calls)
    assert control.wanted == wanted
    assert control.counts == {tool: tools_of(chosen)[tool] for tool in wanted}
    taken = {(key, each.position) for key, calls in control.calls.items() for each in calls}
    for tool, number in wanted.items():
        assert control.counts[tool] <= number
        if control.counts[tool] < number:
            # Nothing was left over: every other call of the tool stands where another one is.
            left = [(k, each.position) for k, each in rows if each.tool == tool and k in keys]
            assert set(left) <= taken
    chance.shuffle(rows)
    chance.shuffle(texts)
    assert choose_dropped_calls(texts, by_text(rows), seed=seed) == control

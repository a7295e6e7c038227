from hypothesis import given
from hypothesis import strategies as st

from tests.toolformer.test_chance_level import call
from toolformer.swapped_results import SwappedResults

RESULTS = st.lists(st.sampled_from("abc"), max_size=30)


def test_the_result_of_a_call_does_not_depend_on_which_others_are_asked_for():
    calls = [call(n, document=f"document-{n // 4}") for n in range(40)]
    ids = [each.call_id for each in calls]
    every = SwappedResults(calls, seed=0).of(ids)
    assert every.keys() == set(ids)
    for few in (ids[3:4], ids[::7]):
        assert SwappedResults(calls[::-1], seed=0).of(few) == {key: every[key] for key in few}
    assert SwappedResults(calls, seed=1).of(ids) != every


@given(results=RESULTS, documents=st.integers(1, 5))
def test_a_result_says_something_else_and_comes_from_another_text_if_it_can(results, documents):
    calls = [
        call(n, document=f"document-{n % documents}", result=result)
        for n, result in enumerate(results)
    ]
    by_id = {each.call_id: each for each in calls}
    swapped = SwappedResults(calls, seed=0).of(by_id)
    assert set(swapped) == (set(by_id) if len(set(results)) > 1 else set())
    for call_id, each in swapped.items():
        own, other = by_id[call_id], by_id[each.other_call_id]
        assert each.call.result == other.result != own.result
        elsewhere = any(
            rival.result != own.result and rival.window != own.window for rival in calls
        )
        assert (other.window != own.window) == elsewhere


@given(results=RESULTS)
def test_a_second_result_is_neither_the_own_one_nor_the_first(results):
    calls = [call(n, result=result) for n, result in enumerate(results)]
    chosen = SwappedResults(calls, seed=0)
    first = chosen.of([each.call_id for each in calls])
    second = chosen.second_of(list(first.values()))
    assert set(second) == (set(first) if len(set(results)) > 2 else set())
    for call_id, each in second.items():
        own = results[int(call_id.removeprefix("call-"))]
        assert len({own, first[call_id].call.result, each.call.result}) == 3


def test_the_sample_follows_from_seed_and_calls_whatever_their_order():
    calls = [call(n) for n in range(60)]
    chosen = SwappedResults(calls, seed=0).sample(10)
    assert len(set(chosen)) == 10
    assert SwappedResults(calls[::-1], seed=0).sample(10) == chosen
    assert SwappedResults(calls, seed=1).sample(10) != chosen
    assert SwappedResults(calls, seed=0).sample(4) == chosen[:4]
    same = [call(n, result="Today is Friday.") for n in range(30)]
    assert SwappedResults(same, seed=0).sample(10) == []

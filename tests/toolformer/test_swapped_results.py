import pytest
from hypothesis import given
from hypothesis import strategies as st
from toolformer.foreign_results import foreign_calls

from tests.toolformer.test_chance_level import call
from toolformer.chance_level import chance_calls


def test_the_foreign_result_of_a_call_does_not_depend_on_which_others_are_wanted():
    calls = [call(n, document=f"document-{n // 4}") for n in range(40)]
    wanted = [each.call_id for each in calls]
    every = {each.call.call_id: each for each in foreign_calls(calls, wanted, seed=0)}
    assert every.keys() == set(wanted)
    for few in (wanted[3:4], wanted[::7]):
        found = foreign_calls(calls[::-1], few, seed=0)
        assert sorted(each.call.call_id for each in found) == sorted(few)
        assert all(each == every[each.call.call_id] for each in found)
    assert foreign_calls(calls, wanted, seed=1) != list(every.values())


@given(results=st.lists(st.sampled_from("abc"), max_size=30), documents=st.integers(1, 5))
def test_a_foreign_result_says_something_else_and_comes_from_another_text_if_it_can(
    results, documents
):
    calls = [
        call(n, document=f"document-{n % documents}", result=result)
        for n, result in enumerate(results)
    ]
    by_id = {each.call_id: each for each in calls}
    found = {each.call.call_id: each for each in foreign_calls(calls, by_id, seed=0)}
    assert set(found) == (set(by_id) if len(set(results)) > 1 else set())
    for call_id, each in found.items():
        own, other = by_id[call_id], by_id[each.other_call_id]
        assert each.call.result == other.result != own.result
        elsewhere = any(
            rival.result != own.result and rival.window != own.window for rival in calls
        )
        assert (other.window != own.window) == elsewhere


@pytest.mark.parametrize("most", [1, 5])
def test_chance_calls_get_the_same_results_as_long_as_none_is_taken(most):
    calls = [call(n) for n in range(60)]
    (first, *_) = chance_calls(calls, most=most, seed=0)
    assert foreign_calls(calls, [first.call_id], seed=0) == [first.swapped]

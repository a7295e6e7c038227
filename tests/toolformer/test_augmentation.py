import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.toolformer.architectures import windows_of
from toolformer.augmentation import (
    KeptCall,
    augmented_segments,
    augmented_text,
    check_round_trip,
    one_call_per_position,
)
from toolformer.errors import ToolformerError
from tools.syntax import clean_result, remove_calls

TEXT = "Six crates of 24 [sic] make 144 🌋 bottles."
WORDS = st.text(alphabet="ab 1é🌋", min_size=1, max_size=8)


def kept(position, *, offset=0, call_id="c", reduction=1.0, result="42", tool="Calculator"):
    return KeptCall(
        call_id=call_id,
        position=position,
        character_offset=offset,
        tool=tool,
        arguments="6 * 7",
        result=result,
        loss_reduction=reduction,
    )


@st.composite
def windows_with_calls(draw, tokenizer):
    text = draw(st.text(alphabet="ab [](->)é🌋\n", min_size=1, max_size=40))
    (window,) = windows_of(tokenizer, text, window_tokens=200)
    places = [
        (position, offset) for position, offset in enumerate(window.offsets) if offset is not None
    ]
    chosen = draw(st.lists(st.sampled_from(places), unique=True, max_size=5))
    calls = [
        kept(
            position,
            offset=offset,
            call_id=str(position),
            result=clean_result(draw(WORDS)) or "0",
            tool=draw(st.sampled_from(["QA", "Calculator"])),
        )
        for position, offset in chosen
    ]
    return window, one_call_per_position(calls)


@settings(deadline=None)
@given(data=st.data())
def test_stripping_merged_calls_restores_the_text(tokenizer, data):
    window, calls = data.draw(windows_with_calls(tokenizer))
    check_round_trip(window, calls)
    augmented = augmented_text(window.text, calls)
    inserted = [(call.character_offset, call.text) for call in calls]
    assert remove_calls(augmented, inserted) == window.text
    assert len(augmented) == len(window.text) + sum(len(call.text) for call in calls)


@settings(deadline=None)
@given(data=st.data())
def test_tokens_with_calls_spell_the_augmented_text(tokenizer, data):
    window, calls = data.draw(windows_with_calls(tokenizer))
    segments = augmented_segments(tokenizer, window.ids, calls)
    joined = [token for segment in segments for token in segment.ids]
    assert tokenizer.decode(joined) == augmented_text(window.text, calls)
    assert len(segments) == len(window.ids) + len(calls)
    # Without the calls, token for token the text.
    text_tokens = [segment.ids for segment in segments if segment.request_length is None]
    assert text_tokens == [[token] for token in window.ids]
    places = {call.position + number: call for number, call in enumerate(calls)}
    for place, call in places.items():
        ids, asked, named = segments[place]
        assert tokenizer.decode(ids[1 : 1 + named]) == f"{call.tool}("
        assert tokenizer.decode(ids[:asked]) == f" [{call.tool}({call.arguments}) ->"
        assert tokenizer.decode(ids[asked:]) == f" {call.result}]"


@given(
    rivals=st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from([0.5, 1.0, 2.0]), st.sampled_from("ab")),
        max_size=12,
    )
)
def test_one_call_is_left_per_position_and_it_is_the_best(rivals):
    calls = [
        kept(
            position, call_id=str(number), reduction=reduction, result=letter * (1 + (letter > "a"))
        )
        for number, (position, reduction, letter) in enumerate(rivals)
    ]
    left = one_call_per_position(calls)
    assert [call.position for call in left] == sorted({call.position for call in calls})
    for call in left:
        same_place = [rival for rival in calls if rival.position == call.position]
        best = min(same_place, key=lambda c: (-c.loss_reduction, len(c.result), calls.index(c)))
        assert call == best


@pytest.mark.parametrize(("position", "offset"), [(3, 4), (-1, 0), (999, 0)])
def test_a_call_that_does_not_fit_its_window_is_refused(tokenizer, position, offset):
    (window,) = windows_of(tokenizer, TEXT)
    stray = kept(position, offset=offset, call_id="stray")
    with pytest.raises(ToolformerError, match=r"calls stray do not fit window 0 .*Build the shard"):
        check_round_trip(window, [kept(1, offset=1), stray])

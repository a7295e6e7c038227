from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import byte_tokenizer, piece_tokenizer
from toolformer.augmentation import KeptCall
from toolformer.errors import ToolformerError
from toolformer.forward.windows import split_into_windows
from toolformer.settings.training_sections import CALLS, PLAIN, SHUFFLED, VARIANTS
from toolformer.training.chats import window_in_context
from toolformer.training.training_rows import CALL, RESULT, TEXT, TOOL
from toolformer.training.variant_rows import (
    TextWithCalls,
    VariantRows,
    calls_of_variant,
    variant_rows,
)

TOKENIZER = byte_tokenizer()


def kept(position: int, result: str, *, tool: str = "Calculator", call_id: str = "c") -> KeptCall:
    return KeptCall(call_id, position, position, tool, "1+2", result, 1.0)


def rows_of(variant: str, *texts: TextWithCalls, max_tokens: int = 64) -> VariantRows:
    return variant_rows(TOKENIZER, texts, variant, max_tokens=max_tokens, seed=0)


def spelled(variant: str, *texts: TextWithCalls, max_tokens: int = 64) -> list[str]:
    rows = rows_of(variant, *texts, max_tokens=max_tokens).rows
    return [TOKENIZER.decode(list(row.ids)) for row in rows]


def test_each_variant_has_its_own_calls_on_the_same_texts():
    texts = [
        TextWithCalls("abc", None, (kept(1, "7", call_id="a"),)),
        TextWithCalls("def", None, (kept(2, "8", call_id="b"),)),
        # Of which no call fits.
        TextWithCalls("gh", None, (kept(1, "7" * 90, tool="MT"),)),
    ]
    assert {variant: spelled(variant, *texts) for variant in VARIANTS} == {
        CALLS: ["a [Calculator(1+2) -> 7]bc", "de [Calculator(1+2) -> 8]f"],
        PLAIN: ["abc", "def"],
        SHUFFLED: ["a [Calculator(1+2) -> 8]bc", "de [Calculator(1+2) -> 7]f"],
    }
    assert {rows_of(variant, *texts).texts_without_row for variant in VARIANTS} == {1}


def test_a_control_has_the_part_of_a_long_text_that_its_calls_in_c_star_chose():
    # The text does not go on from a context where its beginning is cut off.
    for context in (None, "what?"):
        late = TextWithCalls("0123456789" * 8, context, (kept(70, "7"),))
        rows = {variant: spelled(variant, late, max_tokens=41)[0] for variant in VARIANTS}
        assert rows[PLAIN] == rows[CALLS].replace(" [Calculator(1+2) -> 7]", "")
        assert "what" not in "".join(rows.values())


def test_a_row_that_begins_behind_a_call_too_long_for_it_has_no_context():
    calls = kept(66, "9" * 90), kept(70, "7")
    late = TextWithCalls("0123456789" * 8, "what?", calls)
    # Here there is room for one.
    assert len(rows_of(CALLS, late, max_tokens=41).rows[0].ids) < 40
    assert not any("what" in spelled(variant, late, max_tokens=41)[0] for variant in VARIANTS)


def test_a_long_context_loses_its_beginning_and_no_variant_a_token_of_its_text():
    # The result of the other call is two tokens longer.
    texts = (
        TextWithCalls("abc", "0123456789", (kept(1, "7", call_id="a"),)),
        TextWithCalls("de", None, (kept(1, "nil", call_id="b"),)),
    )
    kept_row, longer_row = "a [Calculator(1+2) -> 7]bc", "a [Calculator(1+2) -> nil]bc"
    longest = len(TOKENIZER.encode(longer_row))
    # Four places besides those of the longest row and of the token in front of it.
    room = 1 + longest + 4
    rows = {variant: spelled(variant, *texts, max_tokens=room)[0] for variant in VARIANTS}
    assert rows == {CALLS: f"789\n{kept_row}", PLAIN: "789\nabc", SHUFFLED: f"789\n{longer_row}"}
    row = rows_of(CALLS, *texts, max_tokens=room).rows[0]
    pieces = {
        "789\n": TEXT,
        "a": TEXT,
        " [": CALL,
        "Calculator(": TOOL,
        "1+2) ->": CALL,
        " 7]": RESULT,
        "bc": TEXT,
    }
    kinds = [kind for piece, kind in pieces.items() for _ in TOKENIZER.encode(piece)]
    assert list(row.kinds) == kinds
    assert spelled(CALLS, *texts, max_tokens=1 + longest)[0] == kept_row


results_of_calls = st.lists(
    st.tuples(st.sampled_from(["Calculator", "Calendar"]), st.sampled_from("abcdef")), max_size=40
)


@given(results_of_calls, st.integers(0, 5))
def test_exchanged_results_stay_within_their_tool_and_none_with_its_call(drawn, seed):
    texts = [
        TextWithCalls("x", None, (kept(0, result, tool=tool, call_id=str(number)),))
        for number, (tool, result) in enumerate(drawn)
    ]
    shuffled = [calls[0] for calls in calls_of_variant(texts, SHUFFLED, seed=seed)]
    for tool in ("Calculator", "Calendar"):
        own = [result for of, result in drawn if of == tool]
        others = [call.result for call in shuffled if call.tool == tool]
        assert Counter(own) == Counter(others)
        commonest = max(Counter(own).values(), default=0)
        same = sum(map(str.__eq__, own, others))
        assert same == max(0, 2 * commonest - len(own))


def test_another_seed_exchanges_otherwise():
    texts = [TextWithCalls("x", None, (kept(0, str(n), call_id=str(n)),)) for n in range(20)]
    first, second = (calls_of_variant(texts, SHUFFLED, seed=seed) for seed in (0, 1))
    assert first != second


def test_a_text_from_within_a_document_has_the_tokens_that_it_has_there():
    tokenizer = piece_tokenizer("Prepend")
    texts = [
        TextWithCalls("mill", None, (kept(1, "7"),), is_continuation=is_continuation)
        for is_continuation in (False, True)
    ]
    rows = variant_rows(tokenizer, texts, CALLS, max_tokens=64, seed=0).rows
    assert [tokenizer.decode_continuation(row.ids) for row in rows] == [
        " m [Calculator(1+2) -> 7]ill",
        "m [Calculator(1+2) -> 7]ill",
    ]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("position", [2, 7])
def test_calls_that_were_counted_in_other_tokens_are_refused(variant: str, position: int):
    # Behind `QA`, which is one token here and may be two elsewhere.
    call = KeptCall("elsewhere", position, 2, "Calculator", "1+2", "7", 1.0)
    text = TextWithCalls("aQA it", None, (kept(1, "3"), call))
    with pytest.raises(ToolformerError, match=r"elsewhere.*another model or window size"):
        rows_of(variant, text)


def test_a_context_that_is_cut_keeps_the_space_at_its_beginning():
    tokenizer = piece_tokenizer("Prepend")
    (window,) = split_into_windows("text", "mill", tokenizer, window_tokens=9)
    for max_tokens, in_front in ((99, "the mill\n"), (len(window.ids) + 6, " mill\n")):
        whole = window_in_context(window, "the mill", tokenizer, max_tokens=max_tokens)
        assert (whole.text, whole.start) == (in_front + "mill", -len(in_front))

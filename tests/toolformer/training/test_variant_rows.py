from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import byte_tokenizer
from toolformer.augmentation import KeptCall
from toolformer.training.training_rows import CALL, RESULT, TEXT
from toolformer.training.variant_rows import TextWithCalls, calls_of_variant, variant_rows
from toolformer.training.variants import CALLS, PLAIN, RANDOM, SHUFFLED, VARIANTS


def kept(position: int, result: str, *, tool: str = "Calculator", call_id: str = "c") -> KeptCall:
    return KeptCall(call_id, position, position, tool, "1+2", result, 1.0)


def spelled(tokenizer, row) -> str:
    return tokenizer.decode(list(row.ids))


def test_each_variant_has_its_own_calls_on_the_same_texts():
    tokenizer = byte_tokenizer()
    texts = [
        TextWithCalls("abc", None, (kept(1, "7", call_id="a"),), (kept(2, "nil"),)),
        TextWithCalls("def", None, (kept(2, "8", call_id="b"),), ()),
    ]
    spelled_by = {
        variant: [
            spelled(tokenizer, row)
            for row in variant_rows(tokenizer, texts, variant, max_tokens=64, seed=0).rows
        ]
        for variant in VARIANTS
    }
    assert spelled_by == {
        CALLS: ["a [Calculator(1+2) -> 7]bc", "de [Calculator(1+2) -> 8]f"],
        PLAIN: ["abc", "def"],
        SHUFFLED: ["a [Calculator(1+2) -> 8]bc", "de [Calculator(1+2) -> 7]f"],
        RANDOM: ["ab [Calculator(1+2) -> nil]c", "def"],
    }


def test_a_control_has_the_part_of_a_long_text_that_its_calls_in_c_star_chose():
    tokenizer = byte_tokenizer()
    late = TextWithCalls("0123456789" * 8, None, (kept(70, "7"),), (kept(2, "9"), kept(69, "1")))
    rows = {
        variant: variant_rows(tokenizer, [late], variant, max_tokens=41, seed=0)
        for variant in VARIANTS
    }
    with_call = spelled(tokenizer, rows[CALLS].rows[0])
    text = with_call.replace(" [Calculator(1+2) -> 7]", "")
    assert spelled(tokenizer, rows[PLAIN].rows[0]) == text
    # The dropped call at token 2 stands outside of this part.
    assert spelled(tokenizer, rows[RANDOM].rows[0]).count("[") == 1
    assert rows[RANDOM].calls == {"Calculator": 1}


def in_context(context: str) -> TextWithCalls:
    """Its dropped call is two tokens longer than the kept one."""
    return TextWithCalls("abc", context, (kept(1, "7"),), (kept(2, "nil"),))


def rows_in_context(context: str, *, max_tokens: int) -> dict[str, str]:
    tokenizer = byte_tokenizer()
    return {
        variant: spelled(tokenizer, *made.rows)
        for variant in VARIANTS
        if (
            made := variant_rows(
                tokenizer, [in_context(context)], variant, max_tokens=max_tokens, seed=0
            )
        )
    }


def test_a_long_context_loses_its_beginning_and_no_variant_a_token_of_its_text():
    kept_row, dropped_row = "a [Calculator(1+2) -> 7]bc", "ab [Calculator(1+2) -> nil]c"
    longest = len(byte_tokenizer().encode(dropped_row))
    # Four places besides those of the longest row and of the token in front of it.
    assert rows_in_context("0123456789", max_tokens=1 + longest + 4) == {
        CALLS: f"789\n{kept_row}",
        PLAIN: "789\nabc",
        SHUFFLED: f"789\n{kept_row}",
        RANDOM: f"789\n{dropped_row}",
    }
    assert rows_in_context("0123456789", max_tokens=1 + longest)[CALLS] == kept_row


def test_a_context_counts_as_text():
    tokenizer = byte_tokenizer()
    text = TextWithCalls("ab", "why?", (kept(1, "7"),), ())
    (row,) = variant_rows(tokenizer, [text], CALLS, max_tokens=64, seed=0).rows
    pieces = {"why?\n": TEXT, "a": TEXT, " [Calculator(1+2) ->": CALL, " 7]": RESULT, "b": TEXT}
    assert list(row.ids) == tokenizer.encode_pieces(pieces)
    assert list(row.kinds) == [
        kind for piece, kind in pieces.items() for _ in tokenizer.encode(piece)
    ]


def test_a_row_that_begins_within_its_text_has_no_context():
    late = TextWithCalls("0123456789" * 8, "what?", (kept(70, "7"),), ())
    tokenizer = byte_tokenizer()
    for variant in VARIANTS:
        (row,) = variant_rows(tokenizer, [late], variant, max_tokens=41, seed=0).rows
        assert "what" not in spelled(tokenizer, row)


def test_a_text_of_which_no_call_fits_is_left_out_of_every_variant():
    tokenizer = byte_tokenizer()
    texts = [
        TextWithCalls("ab", None, (kept(1, "7" * 90),), ()),
        TextWithCalls("cd", None, (kept(1, "7"),), ()),
    ]
    for variant in VARIANTS:
        made = variant_rows(tokenizer, texts, variant, max_tokens=50, seed=0)
        assert (len(made.rows), made.texts_without_row) == (1, 1)


results_of_calls = st.lists(
    st.tuples(st.sampled_from(["Calculator", "Calendar"]), st.sampled_from("abcdef")), max_size=40
)


@given(results_of_calls, st.integers(0, 5))
def test_exchanged_results_stay_within_their_tool_and_none_with_its_call(drawn, seed):
    texts = [
        TextWithCalls("x", None, (kept(0, result, tool=tool, call_id=str(number)),), ())
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
    texts = [TextWithCalls("x", None, (kept(0, str(n), call_id=str(n)),), ()) for n in range(20)]
    exchanged = {
        tuple(calls[0].result for calls in calls_of_variant(texts, SHUFFLED, seed=seed))
        for seed in range(5)
    }
    assert len(exchanged) == 5

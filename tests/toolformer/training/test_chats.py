"""Texts written as conversations, by a template and by that of the embedded model."""

import datetime
from pathlib import Path

import pytest

from tests.fakes import byte_tokenizer
from tests.toolformer.training.tiny import loss_weights
from toolformer.augmentation import KeptCall
from toolformer.errors import ChatTemplateError
from toolformer.forward.start_token import start_token
from toolformer.forward.tokenization import Tokenizer, load_tokenizer
from toolformer.forward.windows import split_into_windows
from toolformer.settings.training_sections import CALLS, PLAIN, SHUFFLED, VARIANTS
from toolformer.training.chats import Chats, window_as_trained
from toolformer.training.training_loss import token_weights, total_weight
from toolformer.training.training_rows import PROMPT, TrainingRow
from toolformer.training.variant_rows import TextWithCalls, variant_rows

BOS = 0
TEMPLATE = """{% for message in messages %}<|endoftext|>{{ message.role }}: {{ message.content }}\
<|im_end|>{% endfor %}{% if add_generation_prompt %}<|endoftext|>assistant:{% endif %}"""
# The start token in front of all is not written twice.
USER, ASSISTANT = "user: ", "<|im_end|><|endoftext|>assistant:"
SUM = "Six boxes of 7 are 6 * 7 = 42 in all."
AT_CALL, EARLIER = 0.1, 0.6


def with_template(template: str = TEMPLATE) -> Tokenizer:
    tokenizer = byte_tokenizer()
    tokenizer.backend.chat_template = template
    return tokenizer


TOKENIZER = with_template()


def chats(tokenizer: Tokenizer = TOKENIZER, *, share: float = 0.5, seed: int = 0) -> Chats:
    return Chats(tokenizer, BOS, share=share, seed=seed)


def kept(text: str, before: str, result: str = "42") -> KeptCall:
    place = text.index(before)
    return KeptCall("c", place, place, "Calculator", "6 * 7", result, 1.0)


def row_of(*texts: TextWithCalls, variant: str = CALLS, max_tokens: int = 256) -> TrainingRow:
    """The row of the first of these texts, of which the others are no chats."""
    made = variant_rows(TOKENIZER, texts, variant, max_tokens=max_tokens, seed=0, chats=chats())
    assert len(made.rows) == len(texts)
    assert made.chats == (PROMPT in made.rows[0].kinds)
    return made.rows[0]


def told(*texts: TextWithCalls, variant: str = CALLS, max_tokens: int = 256) -> tuple[str, str]:
    """The first row up to the answer, and the answer."""
    row = row_of(*texts, variant=variant, max_tokens=max_tokens)
    prompt = row.kinds.count(PROMPT)
    assert row.kinds[:prompt] == bytes([PROMPT] * prompt)
    return TOKENIZER.decode(list(row.ids[:prompt])), TOKENIZER.decode_continuation(row.ids[prompt:])


def asked(question: str) -> str:
    return f"{USER}{question}{ASSISTANT}"


def test_a_share_of_the_texts_is_chosen_by_text_and_seed_alone():
    keys = [(f"d{number // 2}", number % 2) for number in range(2000)]
    draws = [chats(share=0.25).draw(key) for key in keys]
    chosen = [draw for draw in draws if draw is not None]
    assert 440 < len(chosen) < 560
    assert 0 <= min(chosen) < 0.02 < 0.98 < max(chosen) < 1
    assert draws == [chats(share=0.25).draw(key) for key in keys]
    assert draws != [chats(share=0.25, seed=1).draw(key) for key in keys]
    # Of a larger share they are a part.
    more = [chats(share=0.5).draw(key) for key in keys]
    assert all(b is not None for a, b in zip(draws, more, strict=True) if a is not None)


def test_a_text_with_a_context_is_the_answer_to_it():
    text = TextWithCalls("6 * 7 = 42.", "How many?", (kept("6 * 7 = 42.", " 42"),), False, 0.9)
    assert told(text) == (asked("How many?"), "6 * 7 = [Calculator(6 * 7) -> 42] 42.")


def test_a_text_without_context_goes_on_from_its_beginning_in_front_of_its_first_call():
    call = kept(SUM, " 42")
    at_call = TextWithCalls(SUM, None, (call,), False, AT_CALL)
    assert told(at_call) == (
        asked("Six boxes of 7 are 6 * 7 ="),
        " [Calculator(6 * 7) -> 42] 42 in all.",
    )
    # Before any of the words up to there, as the draw says.
    answers = set()
    for draw in (0.5, 0.6, 0.75, 0.99):
        prompt, answer = told(TextWithCalls(SUM, None, (call,), False, draw))
        assert answer.endswith(" [Calculator(6 * 7) -> 42] 42 in all.")
        question = prompt.removeprefix(USER).removesuffix(ASSISTANT)
        assert question + answer.replace(call.text, "") == SUM
        answers.add(answer)
    assert len(answers) == 4
    # Nothing stands in front of a call at the beginning: it stays a plain text.
    first = TextWithCalls(SUM, None, (kept(SUM, "Six"),), False, AT_CALL)
    assert told(first) == ("", f" [Calculator(6 * 7) -> 42]{SUM}")


def test_all_variants_have_the_same_question_and_the_same_words_in_the_answer():
    other = TextWithCalls(SUM, None, (kept(SUM, " in", "43"),))
    for context, draw in ((None, AT_CALL), (None, EARLIER), ("How many?", AT_CALL)):
        text = TextWithCalls(SUM, context, (kept(SUM, " 42"),), False, draw)
        rows = {variant: told(text, other, variant=variant) for variant in VARIANTS}
        assert len({question for question, _ in rows.values()}) == 1
        assert rows[PLAIN][1] == rows[CALLS][1].replace(" [Calculator(6 * 7) -> 42]", "")
        assert rows[SHUFFLED][1] == rows[CALLS][1].replace("-> 42]", "-> 43]")


def test_up_to_the_answer_nothing_counts_in_the_loss():
    row = row_of(TextWithCalls(SUM, None, (kept(SUM, " 42"),), False, AT_CALL))
    weights = loss_weights(call=2, tool=4, result=3)
    prompt = len(TOKENIZER.encode(asked("Six boxes of 7 are 6 * 7 =").replace("<|", "..")))
    assert row.kinds.count(PROMPT) < prompt
    of_tokens = token_weights(row, weights)
    assert not any(of_tokens[: row.kinds.count(PROMPT)])
    assert all(of_tokens[row.kinds.count(PROMPT) :])
    assert total_weight([row], weights) == sum(of_tokens)


def test_a_long_context_loses_its_beginning_and_a_text_without_room_stays_plain():
    text = TextWithCalls("abc", "0123456789", (), False, AT_CALL)
    frame = chats().frame
    assert told(text, max_tokens=1 + frame + 3 + 4) == (asked("6789"), "abc")
    # Beside the template there is no room for a question, or for a call.
    assert told(text, max_tokens=1 + frame + 2) == ("", "0123456789\nabc")
    calling = TextWithCalls(SUM, None, (kept(SUM, " 42"),), False, AT_CALL)
    prompt, answer = told(calling, max_tokens=1 + frame + 10)
    assert (prompt, " [Calculator(6 * 7) -> 42] 4" in answer) == ("", True)


def test_a_text_is_a_chat_only_where_every_variant_has_its_whole_answer():
    text = TextWithCalls(SUM, None, (kept(SUM, " 42"),), False, AT_CALL)
    long = TextWithCalls(SUM, None, (kept(SUM, " 42", "nil" * 20),))
    for max_tokens, is_chat in ((130, False), (200, True)):
        prompts = {
            told(text, long, variant=variant, max_tokens=max_tokens)[0] for variant in VARIANTS
        }
        assert prompts == {asked("Six boxes of 7 are 6 * 7 =") if is_chat else ""}


def test_what_spells_a_special_token_opens_no_turn():
    text = "a <|im_end|> b 42"
    for context in (None, "x<|endoftext|>y"):
        row = row_of(TextWithCalls(text, context, (kept(text, " 42"),), False, AT_CALL))
        special = [token for token in row.ids if token in TOKENIZER.special_ids]
        assert special == [1, 0]
        spelled = "a < |im_end|> b" if context is None else "x< |endoftext|>y"
        assert TOKENIZER.decode(list(row.ids)).startswith(asked(spelled))


@pytest.mark.parametrize("context", [None, "How many?"])
@pytest.mark.parametrize("document_id", ["d1", "d3", "d5", "d8"])
def test_a_window_has_the_tokens_of_its_row_and_its_places_in_the_document(context, document_id):
    document = f"{'x' * len(SUM)}{SUM}"
    made = split_into_windows(document_id, document, TOKENIZER, window_tokens=len(SUM))
    window = [*made][1]
    call = kept(SUM, " 42")
    form = {"tokenizer": TOKENIZER, "max_tokens": 256}
    draw = chats(share=1).draw((document_id, 1))
    chat = window_as_trained(window, context, call.position, chats=chats(share=1), **form)
    row = row_of(TextWithCalls(SUM, context, (call,), True, draw), variant=PLAIN)
    assert chat.ids == tuple(row.ids)
    places = [at for at in chat.offsets if at is not None]
    # None in the question.
    assert len(places) == len(chat.ids) - row.kinds.count(PROMPT)
    assert [chat.text[at] for at in places] == [document[chat.start + at] for at in places]
    ahead = len(chat.ids) - len(window.ids)
    at = chat.offsets[ahead + call.position]
    assert at is not None
    assert document[chat.start + at :] == " 42 in all."
    # Of the texts that are no chats nothing changes.
    for others in (None, chats(share=1e-9)):
        plain = window_as_trained(window, context, call.position, chats=others, **form)
        assert plain.text == ("" if context is None else f"{context}\n") + window.text


@pytest.mark.parametrize(
    ("template", "reason"),
    [("", "the model has none"), ("{{ raise_exception('no users') }}", "no users")],
)
def test_a_template_that_takes_no_question_is_refused(template: str, reason: str):
    with pytest.raises(ChatTemplateError, match=reason):
        chats(with_template(template))


class GermanDate(datetime.date):
    """As Java has it, which takes the language of the machine for the whole process."""

    def strftime(self, form: str) -> str:
        names = {"%A": "Donnerstag", "%a": "Do", "%B": "Februar", "%b": "Feb", "%p": ""}
        return names.get(form) or super().strftime(form)


def test_a_template_that_tells_the_date_gives_the_same_rows_on_any_day_and_in_any_language(
    monkeypatch,
):
    monkeypatch.setattr("toolformer.training.chats._TODAY", GermanDate(2023, 2, 9))
    dated = with_template(f"{{{{ strftime_now('%A, %a %d %b (%B) %Y %p') }}}}{TEMPLATE}")
    text = TextWithCalls(SUM, "How many?", (), False, AT_CALL)
    made = variant_rows(dated, [text], CALLS, max_tokens=256, seed=0, chats=chats(dated))
    assert dated.decode(list(made.rows[0].ids)).startswith(
        "Thursday, Thu 09 Feb (February) 2023 AM<|endoftext|>user: How many?"
    )


def test_a_row_of_the_embedded_model_is_what_its_own_template_writes(embedded_model_path: Path):
    tokenizer = load_tokenizer(embedded_model_path)
    start = start_token(tokenizer, None)
    ids, offsets = tokenizer.encode_with_offsets(SUM)
    place = offsets.index(SUM.index(" 42"))
    call = KeptCall("c", place, SUM.index(" 42"), "Calculator", "6 * 7", "42", 1.0)
    text = TextWithCalls(SUM, None, (call,), False, AT_CALL)
    (row,) = variant_rows(
        *(tokenizer, [text], PLAIN),
        max_tokens=160,
        seed=0,
        chats=Chats(tokenizer, start, share=0.5, seed=0),
    ).rows
    turns = [{"role": "user", "content": "Six boxes of 7 are 6 * 7 ="}]
    prompt = tokenizer.backend.apply_chat_template(
        turns, add_generation_prompt=True, return_dict=False
    )
    # Behind the prompt the tokens that were annotated.
    assert list(row.ids) == [*prompt, *ids[place:]]
    assert row.kinds.count(PROMPT) == len(prompt)

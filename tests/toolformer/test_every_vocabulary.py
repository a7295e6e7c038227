"""The method with every kind of vocabulary: the literal numbers, and the text that comes back."""

import logging

import pytest
import torch
from tokenizers import processors
from transformers import PreTrainedTokenizerFast

from tests.fakes import (
    END,
    SAMPLING,
    START,
    TOKENIZERS,
    TOOL,
    byte_tokenizer,
    decoding_with,
    taught_model,
    tiny_model,
)
from tests.toolformer.architectures import windows_of
from toolformer import reference
from toolformer.decoding.completions import MinCallProbability
from toolformer.decoding.decoder import complete
from toolformer.errors import ModelNotFoundError
from toolformer.forward.chat_template import chat_ids, plain_prompt, plain_template
from toolformer.forward.language_model import LanguageModel
from toolformer.forward.prefill import rows_before_texts
from toolformer.forward.tokenization import Tokenizer
from toolformer.sampling import sample_calls
from tools.syntax import insert_calls

PROMPT = "Calls.\nIn: {text}\nOutput:"
TEXT = "Six times seven is 42 [sic].\nThe Zoe\u0308 橋 at noon."
LESSON = "The mill has 6 * 7 [Calculator(6 * 7) -> 42] 42 sacks, at most."
PLAIN = LESSON.replace(" [Calculator(6 * 7) -> 42]", "")
WAY = decoding_with(
    max_new_tokens=60,
    call_top_k=2,
    min_call_probability=MinCallProbability.everywhere(0.2),
    max_call_tokens=24,
    max_result_tokens=8,
    tools=("Calculator",),
)


@pytest.fixture(scope="module", params=TOKENIZERS)
def each_model(request) -> LanguageModel:
    return tiny_model(tokenizer=TOKENIZERS[request.param]())


def test_call_probabilities_are_those_of_the_prompt_as_the_tokenizer_makes_it(each_model):
    windows = windows_of(each_model.tokenizer, TEXT)
    rows = sample_calls(
        each_model,
        PROMPT,
        windows,
        tool_name="Calendar",
        takes_arguments=False,
        parse_arguments=str.strip,
        tool=TOOL.model_copy(update={"positions_per_text": 1000}),
        sampling=SAMPLING,
    )
    assert len(rows) > 30
    tokenizer = each_model.tokenizer
    whole = PROMPT.replace("{text}", TEXT)
    start = [*tokenizer.start_ids, *tokenizer.encode(whole)]
    for row in rows[::5]:
        context = start + tokenizer.encode(TEXT)[: row.position]
        expected = 1.0
        for token in tokenizer.encode_continuation(" ["):
            scores = reference.next_token_log_probabilities(each_model, context)
            expected *= float(scores[token].exp())
            context.append(token)
        assert row.call_probability == pytest.approx(expected, rel=1e-4)
        assert expected == pytest.approx(
            reference.call_probability(each_model, PROMPT, TEXT, row.position), rel=1e-5
        )


@pytest.fixture(scope="module", params=TOKENIZERS)
def each_pupil(request) -> LanguageModel:
    """Writes a call; with calls disabled the same text without it."""
    return taught_model([LESSON, PLAIN], tokenizer=TOKENIZERS[request.param]())


@pytest.mark.parametrize("prompt", ["The mill has", "The mill has 6", ""])
def test_answers_with_and_without_a_call_have_the_same_outer_text(each_pupil, prompt):
    run = {"run_calls": lambda requests: ["42" for _ in requests]}
    (on,) = complete(each_pupil, [prompt], decoding=WAY, **run)
    off = WAY.changed(call_top_k=0)
    (without,) = complete(each_pupil, [prompt], decoding=off, **run)
    assert len(on.calls) == 1
    assert prompt + on.text == LESSON
    assert on.calls[0].text == " [Calculator(6 * 7) -> 42]"
    assert prompt + on.text_without_calls == prompt + without.text == PLAIN
    calls = [(call.character_offset, call.text) for call in on.calls]
    assert insert_calls(on.text_without_calls, calls) == on.text
    # Traces, and with them the server's `logprobs`, are the same text.
    assert "".join(step.text for step in on.trace[:-1]) == on.text
    assert "".join(step.text for step in without.trace[:-1]) == without.text


def test_a_chat_by_the_plain_template_is_the_prompt_of_its_text(each_model, monkeypatch):
    tokenizer, start = each_model.tokenizer, each_model.bos_id
    monkeypatch.setattr(tokenizer.backend, "chat_template", plain_template(tokenizer, start))
    turns = [{"role": "system", "content": "Be brief. "}, {"role": "user", "content": " \nAh, 6"}]
    for asked in (turns, turns[1:]):
        ids = chat_ids(tokenizer, asked, start=start)
        assert ids == tokenizer.encode(plain_prompt(asked))


def test_an_answer_ends_at_a_token_that_shows_a_line_end(each_model):
    tokens = each_model.tokenizer.encode_continuation("Oslo\n")
    assert "\n" in each_model.tokenizer.token_text(tokens[-1])


# --- start tokens ---------------------------------------------------------------------------------


def starting_with(*starts: str, **tokens) -> Tokenizer:
    """A byte-level tokenizer that puts tokens in front of a text, and one behind it."""
    rules = byte_tokenizer().backend.backend_tokenizer
    rules.add_special_tokens(["<s>"])
    ids = [(name, rules.token_to_id(name)) for name in (START, END, "<s>")]
    rules.post_processor = processors.TemplateProcessing(
        single=" ".join([*starts, "$A", END]), special_tokens=ids
    )
    return Tokenizer(PreTrainedTokenizerFast(tokenizer_object=rules, eos_token=END, **tokens))


def of(tokenizer: Tokenizer, **options) -> LanguageModel:
    network = tiny_model(tokenizer=starting_with(START)).model
    return LanguageModel(network, tokenizer, name="own", **options)


@pytest.mark.parametrize("start", ["<s>", START])
def test_what_the_tokenizer_puts_in_front_is_the_start_token_of_texts_and_prompts(start):
    model = of(starting_with(start, bos_token=START))
    assert model.tokenizer.token_text(model.bos_id) == start
    assert model.prompt_start == [model.bos_id]
    assert rows_before_texts(model, PROMPT).length(0) == 1 + len(
        model.tokenizer.encode("Calls.\nIn:")
    )


def test_where_it_puts_nothing_in_front_one_is_chosen_and_named(caplog):
    with caplog.at_level(logging.INFO):
        model = of(starting_with(bos_token="<s>"))
    assert (model.bos_id, model.prompt_start) == (0, [])
    assert [START in record.message for record in caplog.records] == [True]


def test_the_users_start_token_wins():
    model = of(starting_with(START), bos_token="<s>")
    assert model.tokenizer.token_text(model.bos_id) == "<s>"
    assert model.prompt_start == [model.bos_id]
    assert of(starting_with(START, START), bos_token=START).bos_id == 0


@pytest.mark.parametrize(
    ("starts", "said"), [((START, START), "start token twice"), (("<s>", START), "several tokens")]
)
def test_a_tokenizer_that_adds_its_start_token_twice_is_refused(starts, said):
    with pytest.raises(ModelNotFoundError, match=said) as caught:
        of(starting_with(*starts))
    assert "language_model.bos_token" in str(caught.value)


def test_a_doubled_start_token_is_refused_before_the_weights_are_read(tmp_path, monkeypatch):
    model = tiny_model(tokenizer=starting_with(START))
    model.model.save_pretrained(tmp_path)
    starting_with(START, START).backend.save_pretrained(tmp_path)
    monkeypatch.setattr(torch.nn.Module, "to", None)
    with pytest.raises(ModelNotFoundError, match="twice"):
        LanguageModel.load(tmp_path, device="cpu")

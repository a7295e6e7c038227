"""Servers that say what no model says, or in another form."""

import logging
import traceback

import pytest

from tests.toolformer.served.fake_server import ONE_TOKEN, asking, served_by
from toolformer.errors import ServedModelError
from toolformer.forward.tokenization import Tokenizer
from toolformer.served.served_model import ServedModel


@pytest.mark.parametrize(
    ("fault", "remedy"),
    [
        ("start_token", "may have added a start token"),
        ("processed", "--logprobs-mode raw_logprobs"),
        ("mixes_answers", "without a proxy that mixes answers"),
        ("error_inside", "the device is on fire"),
        ("other_words", "language_model.path to the folder with the tokenizer"),
        ("no_prompt_logprobs", "returns no prompt_logprobs"),
        ("no_number", "is None"),
        ("not_a_number", "is nan"),
        ("probabilities", "sent an invalid answer"),
        ("words_for_ids", "sent an invalid answer"),
        ("no_tokens", "returned 0 token ids"),
        ("small_top", "--max-logprobs 20"),
        ("one_seed", "returned the same sample twice"),
        ("one_sample", "returned the choices \\[0\\]"),
    ],
)
def test_server_that_would_fill_tables_with_wrong_numbers_is_refused(local, fault, remedy):
    with pytest.raises(ServedModelError, match=remedy), served_by(local, faults={fault}):
        pytest.fail("the server was taken")


def spoilt(answer, spoil):
    """An answer whose numbers, names of tokens or forms are changed."""
    (choice,) = answer["choices"]
    places = [place for place in choice.get("prompt_logprobs") or () if place]
    listed, told = choice["logprobs"]["top_logprobs"], choice["logprobs"]["token_logprobs"]
    if isinstance(spoil, float):
        told[:] = [spoil] * len(told)
        for place in listed:
            place.update(dict.fromkeys(place, spoil))
        for place in places:
            for seen in place.values():
                seen["logprob"] = spoil
    if isinstance(spoil, str):
        choice["logprobs"]["tokens"][0] = f"token_id:{spoil}"
        for place in listed:
            place[f"token_id:{spoil}"] = -9.0
        for place in places:
            place[spoil] = {"logprob": -9.0, "rank": 9}
    return answer


def test_numbers_and_tokens_that_no_model_has_are_refused_whenever_they_come(
    local, pair, monkeypatch
):
    fake, served = pair
    answer, row = fake.answer, [0, 40, 50, 60, 70]
    beyond = str(local.tokenizer.vocabulary_size)
    refused = {
        float("-inf"): "is -inf",
        0.0: "sum to|two log probabilities",
        "-1": "the token id -1",
        beyond: f"the token id {beyond}",
        "word": "'word'",
    }
    questions = {
        "prompts": lambda forms: forms.prompts([row]),
        "likeliest": lambda forms: forms.likeliest([row], 5),
        "samples": lambda forms: forms.samples(
            [row] * 4, range(4), [1] * 4, max_new_tokens=4, temperature=1.0
        ),
    }
    for spoil, message in refused.items():
        monkeypatch.setattr(fake, "answer", lambda body, spoil=spoil: spoilt(answer(body), spoil))
        for ask in questions.values():
            with pytest.raises(ServedModelError, match=message):
                ask(served.forms)


@pytest.mark.parametrize(
    "told",
    [
        {"prompt_logprobs": "none"},
        {"prompt_logprobs": [None, "none"]},
        {"prompt_logprobs": [None, {"40": -1.0}]},
        {"prompt_logprobs": [None, {"40": {"logprob": -1.0}}]},
        {"logprobs": ["a"]},
        {"logprobs": {"tokens": "token_id:4", "token_logprobs": -1.0}},
        {"logprobs": {"tokens": [4], "token_logprobs": [-1.0]}},
        {"logprobs": {"tokens": ["token_id:4"], "token_logprobs": ["-1"]}},
        {"logprobs": {"top_logprobs": [["token_id:4"]]}},
        {"logprobs": {"top_logprobs": {"token_id:4": -1.0}}},
    ],
)
def test_choice_in_another_form_is_refused_in_a_sentence(pair, monkeypatch, told):
    fake, served = pair
    answer = fake.answer

    def answered(body):
        whole = answer(body)
        whole["choices"][0] |= told
        return whole

    monkeypatch.setattr(fake, "answer", answered)
    with pytest.raises(ServedModelError, match=r"Expected .*vllm serve|proxy that changes answers"):
        served.forms.prompts([[0, 40]])


def test_length_that_is_no_number_is_refused_and_other_models_of_a_server_are_no_matter(local):
    with (
        pytest.raises(ServedModelError, match="max_model_len is 'many'"),
        served_by(local, card={"max_model_len": "many"}),
    ):
        pytest.fail("the server was taken")


KEY = "s3cr3t-k3y"


def test_key_and_control_characters_that_a_server_gives_back_are_in_nothing_that_is_kept(
    local, caplog
):
    said = f"\x1b[2J{KEY}\x9b31m\n"
    with (
        caplog.at_level(logging.INFO),
        asking(local, key=KEY, card={"dtype": said, "revision": said}) as (fake, client),
    ):
        served = ServedModel(client, local.tokenizer)
        assert served.precision == r"\x1b[2J…\x9b31m"
        errors = [str(client.model_card())]
        for error in ({"error": {"message": said, "code": 400}}, {"choices": [said]}):
            fake.answer = lambda body, error=error: error
            with pytest.raises(ServedModelError) as raised:
                served.losses_at([[0, 40]], [(0, 0, 40)])
            errors.append("".join(traceback.format_exception(raised.value)))
    for text in (caplog.text, *errors):
        assert "…" in text
        assert KEY not in text
        assert not {"\x1b", "\x9b"} & set(text)


def test_tokenizer_with_more_tokens_than_the_server_has_is_refused(local):
    backend = type(local.tokenizer.backend)(
        tokenizer_object=local.tokenizer.backend.backend_tokenizer.from_str(
            local.tokenizer.backend.backend_tokenizer.to_str()
        ),
        bos_token="<|endoftext|>",
        eos_token="<|im_end|>",
    )
    backend.add_tokens(["unheard-of"])
    with (
        asking(local) as (_, client),
        pytest.raises(ServedModelError, match=r"the server refuses it.*language_model\.path"),
    ):
        ServedModel(client, Tokenizer(backend))


@pytest.mark.parametrize(
    "told",
    [
        {"choices": None},
        {"choices": ["text"]},
        {"choices": {"text": "a"}},
        {"usage": None},
        {"usage": [2]},
    ],
)
def test_answer_in_another_form_is_refused_with_the_form_that_is_expected(local, monkeypatch, told):
    with asking(local) as (fake, client):
        answer = fake.answer
        monkeypatch.setattr(fake, "answer", lambda body: answer(body) | told)
        with pytest.raises(ServedModelError, match="vLLM's completions API"):
            client.complete([ONE_TOKEN])

"""Servers that are wrong, busy, cut off or started again."""

import contextlib
import logging
import threading
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.conftest import happens
from tests.toolformer.architectures import windows_of
from tests.toolformer.served.fake_server import client_of, served_by, serving
from tests.toolformer.served.test_served_model import PROMPT, TEXTS, places_of
from toolformer.calls import call_open_id
from toolformer.errors import ServedModelError
from toolformer.forward.model import TOLD_RANKS, Place
from toolformer.forward.tokenization import Tokenizer
from toolformer.served import http_client
from toolformer.served.http_client import CompletionsClient
from toolformer.served.served_model import ServedModel


@pytest.mark.parametrize(
    ("fault", "remedy"),
    [
        ("start_token", "without a start token of its own"),
        ("processed", "--logprobs-mode raw_logprobs"),
        ("mixes_answers", "without a proxy that mixes answers"),
        ("error_inside", "the device is on fire"),
        ("other_words", "language_model.path to the folder with the tokenizer"),
        ("no_prompt_logprobs", "an engine that has them"),
        ("no_number", "told None for the log probability"),
        ("not_a_number", "told nan for the log probability"),
        ("probabilities", "a number of at most 0"),
        ("words_for_ids", "in another form than vLLM"),
        ("no_tokens", "text says not which tokens were sampled"),
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
        float("-inf"): "told -inf for the log probability",
        0.0: "sum to|two log probabilities",
        "-1": "the token id -1",
        beyond: f"the token id {beyond}",
        "word": "'word'",
    }
    questions = {
        "prompts": lambda forms: forms.prompts([row]),
        "likeliest": lambda forms: forms.likeliest([row], 5),
        "behind": lambda forms: forms.behind([row], [[40, 41]]),
        "samples": lambda forms: forms.samples(
            [row] * 4, range(4), max_new_tokens=4, temperature=1.0
        ),
    }
    for spoil, message in refused.items():
        monkeypatch.setattr(fake, "answer", lambda body, spoil=spoil: spoilt(answer(body), spoil))
        for ask in questions.values():
            with pytest.raises(ServedModelError, match=message):
                ask(served.found.forms)


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
        served.found.forms.prompts([[0, 40]])


def test_length_that_is_no_number_is_refused_and_other_models_of_a_server_are_no_matter(local):
    with (
        pytest.raises(ServedModelError, match="max_model_len is 'many'"),
        served_by(local, card={"max_model_len": "many"}),
    ):
        pytest.fail("the server was taken")


def test_server_that_is_busy_while_it_is_looked_at_settles_nothing(local, monkeypatch):
    monkeypatch.setattr(http_client, "_FIRST_PATIENCE", 0.1)
    for asked in ({"prompt_logprobs": TOLD_RANKS}, {"logprob_token_ids"}):
        with serving(local) as fake, contextlib.closing(client_of(fake)) as client:
            answer, busy = fake.answer, {"error": {"message": "busy", "code": 503}}

            def answered(body, answer=answer, asked=asked, busy=busy):
                is_asked = all(
                    name in body and (not isinstance(asked, dict) or body[name] == asked[name])
                    for name in asked
                )
                return busy if is_asked else answer(body)

            monkeypatch.setattr(fake, "answer", answered)
            with pytest.raises(http_client.PassingError, match=r"answered 503 \(busy\)"):
                ServedModel(client, local.tokenizer)


KEY = "s3cr3t-k3y"


def test_key_and_control_characters_that_a_server_gives_back_are_in_nothing_that_is_kept(
    local, caplog
):
    said = f"\x1b[2J{KEY}\x9b31m\n"
    with (
        caplog.at_level(logging.INFO),
        serving(local, key=KEY, card={"dtype": said, "revision": said}) as fake,
        contextlib.closing(client_of(fake, key=KEY)) as client,
    ):
        served = ServedModel(client, local.tokenizer)
        assert served.precision == r"\x1b[2J…\x9b31m"
        errors = [str(client.described())]
        for error in ({"error": {"message": said, "code": 400}}, {"choices": [said]}):
            fake.answer = lambda body, error=error: error
            with pytest.raises(ServedModelError) as raised:
                served.losses_at([[0, 40]], [(0, 0, 40)])
            errors.append("".join(traceback.format_exception(raised.value)))
    for text in (caplog.text, *errors):
        assert "…" in text
        assert KEY not in text
        assert not {"\x1b", "\x9b"} & set(text)


@pytest.mark.parametrize("is_compressed", [False, True])
def test_answer_of_another_size_than_was_asked_for_is_refused_without_reading_it(
    local, is_compressed
):
    sent = []

    class Endless(BaseHTTPRequestHandler):
        def do_POST(self):
            self.send_response(200)
            if is_compressed:
                self.send_header("content-encoding", "gzip")
            self.end_headers()
            with contextlib.suppress(OSError):
                for _ in range(300):
                    self.wfile.write(b" " * 2**20)
                    sent.append(1)

        def log_message(self, format, *args):  # noqa: A002
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Endless) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        with (
            contextlib.closing(CompletionsClient([url], "tiny")) as client,
            pytest.raises(ServedModelError, match=r"compresses|more than 4,195,840 bytes"),
        ):
            client.complete([{"prompt": [0, 40], "max_tokens": 1, "prompt_logprobs": 0}])
        server.shutdown()
    assert len(sent) < 100


@pytest.mark.parametrize("failing", [{}, dict.fromkeys(range(99), 503)], ids=["slow", "busy"])
def test_closing_ends_what_another_thread_asks_at_once(local, failing):
    with serving(local, seconds=0 if failing else 10, failing=failing) as fake:
        client = client_of(fake)
        client.is_known()
        errors = []

        def ask():
            try:
                client.complete([{"prompt": [0, 40], "max_tokens": 1, "temperature": 0}])
            except ServedModelError as error:
                errors.append(error)

        asking = threading.Thread(target=ask)
        asking.start()
        assert happens(lambda: fake.asked > 3 or len(client._sockets))
        asking.join(0.3)
        assert asking.is_alive()
        client.close()
        asking.join(5)
        assert not asking.is_alive()
        assert errors


def test_server_that_tells_too_few_likeliest_tokens_is_asked_place_by_place(local):
    windows, open_id = windows_of(local.tokenizer, *TEXTS), call_open_id(local.tokenizer)
    places = [(Place(0, at), open_id) for at in range(1, 6)]
    with served_by(local, faults={"small_top"}) as (fake, served):
        fake.bodies.clear()
        losses = served.read(None, windows).losses(places, min_probability=0.05)
        assert len(fake.bodies) == len(places)
    assert losses == pytest.approx(local.read(None, windows).losses(places), abs=1e-5)


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
        serving(local) as fake,
        contextlib.closing(client_of(fake)) as client,
        pytest.raises(ServedModelError, match=r"the server refuses it.*language_model\.path"),
    ):
        ServedModel(client, Tokenizer(backend))


def test_other_name_missing_key_and_silent_address_say_what_to_set(local, monkeypatch):
    monkeypatch.setattr(http_client, "_FIRST_PATIENCE", 0.2)
    with serving(local, key="secret") as fake:
        for options, remedy in [
            ({"model": "huge"}, "language_model.server.model"),
            ({"key": None}, "language_model.server.key_variable"),
        ]:
            with (
                contextlib.closing(client_of(fake, **options)) as client,
                pytest.raises(ServedModelError, match=remedy),
            ):
                ServedModel(client, local.tokenizer)
        with contextlib.closing(client_of(fake, key="secret")) as client:
            assert ServedModel(client, local.tokenizer).context_length == 1022
    with (
        contextlib.closing(client_of(fake)) as client,
        pytest.raises(ServedModelError, match=r"language_model\.server\.url"),
    ):
        client.described()


def test_proxies_of_the_environment_are_not_asked_for_this_machine(local, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setattr(http_client, "_FIRST_PATIENCE", 0.2)
    with serving(local) as fake, contextlib.closing(client_of(fake)) as client:
        assert client.described().id == "tiny"


def test_full_server_and_cut_connections_cost_waiting_alone(local):
    windows, open_id = windows_of(local.tokenizer, *TEXTS), call_open_id(local.tokenizer)
    places = places_of(windows, open_id)
    with served_by(local) as (fake, served):
        statuses = [429, 0, 503, 0, 429]
        fake.failing = {fake.asked + at: status for at, status in enumerate(statuses)}
        losses = served.read(PROMPT, windows).losses(places)
        assert not fake.failing
    assert losses == pytest.approx(local.read(PROMPT, windows).losses(places), abs=1e-5)


def test_answer_that_is_cut_off_after_the_whole_patience_is_asked_for_again(local, monkeypatch):
    monkeypatch.setattr(http_client, "_FIRST_PATIENCE", 0.1)
    with (
        serving(local, seconds=0.2, failing={0: 0}) as fake,
        contextlib.closing(client_of(fake)) as client,
    ):
        request = {"prompt": [0, 40], "max_tokens": 1, "temperature": 0}
        assert client.complete([request])[0][0].logprobs
        assert fake.asked == 2


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
    with serving(local) as fake, contextlib.closing(client_of(fake)) as client:
        answer = fake.answer
        monkeypatch.setattr(fake, "answer", lambda body: answer(body) | told)
        with pytest.raises(ServedModelError, match="the form of OpenAI's completions"):
            client.complete([{"prompt": [0, 40], "max_tokens": 1, "temperature": 0}])


def test_text_that_the_server_broke_off_is_asked_for_again(local):
    with serving(local) as fake, contextlib.closing(client_of(fake)) as client:
        request = {"prompt": [0, 40], "max_tokens": 6, "temperature": 1, "logprobs": 0}
        [whole] = client.complete([request])
        fake.failing = {fake.asked: 200}
        assert client.complete([request]) == [whole]
        assert fake.asked == 3


def test_server_that_ends_and_is_started_again_loses_nothing(local):
    windows, open_id = windows_of(local.tokenizer, *TEXTS), call_open_id(local.tokenizer)
    places = places_of(windows, open_id)
    answers = []
    with served_by(local) as (fake, served):
        port = int(fake.url.rpartition(":")[2])
        texts = served.read(PROMPT, windows)
    # Its client is closed with the first server; the second has one of its own.
    client = CompletionsClient([fake.url], "tiny")
    client.is_known()
    served._client = served.found.forms._client = client
    asking = threading.Thread(target=lambda: answers.extend(texts.losses(places)))
    asking.start()
    asking.join(0.3)
    assert asking.is_alive()
    with serving(local, port=port):
        asking.join(30)
    client.close()
    assert answers == pytest.approx(local.read(PROMPT, windows).losses(places), abs=1e-5)


@pytest.mark.parametrize("failing", [{}, {0: 503}], ids=["silent", "failing"])
def test_who_watches_sees_what_is_waited_for_until_it_answers(local, monkeypatch, failing):
    monkeypatch.setattr(http_client, "_SECONDS_BETWEEN_LOOKS", 0.01)
    monkeypatch.setattr(http_client, "_SECONDS_OF_FAILURE", 0.1)
    monkeypatch.setattr(http_client, "_SECONDS_OF_SILENCE", 0.2)
    shown = []

    @contextlib.contextmanager
    def waiting(line, log):
        shown.append(line)
        yield
        shown.append("over")

    # Answers take longer than whoever watches should wait for a word.
    with (
        serving(local, seconds=0.4, failing=dict(failing)) as fake,
        contextlib.closing(CompletionsClient([fake.url], "tiny", waiting=waiting)) as client,
    ):
        client.described()
        assert not shown
        client.complete([{"prompt": [0, 40], "max_tokens": 1, "temperature": 0}])
    silent = f"waiting: the server at {fake.url}/v1 is busy or stuck"
    failed = f"waiting: The server at {fake.url}/v1 answered 503 (full)"
    expected = [silent, "over", *([failed, "over"] if failing else [])]
    assert shown == expected


def test_servers_of_the_same_model_are_asked_in_turn_and_one_that_ends_costs_waiting(local):
    windows, open_id = windows_of(local.tokenizer, *TEXTS), call_open_id(local.tokenizer)
    places = places_of(windows, open_id)
    with serving(local) as first:
        with (
            serving(local) as second,
            contextlib.closing(CompletionsClient([first.url, second.url], "tiny")) as client,
        ):
            served = ServedModel(client, local.tokenizer)
            assert abs(first.asked - second.asked) <= 1
            asked = first.asked
        # Its connections are closed with the client.
        client = CompletionsClient([first.url, second.url], "tiny")
        client.is_known()
        served._client = served.found.forms._client = client
        with contextlib.closing(client):
            losses = served.read(PROMPT, windows).losses(places)
        assert first.asked > asked
    assert losses == pytest.approx(local.read(PROMPT, windows).losses(places), abs=1e-5)


def test_servers_that_differ_are_refused(local):
    with (
        serving(local, card={"dtype": "float16"}) as first,
        serving(local, card={"dtype": "bfloat16"}) as second,
        contextlib.closing(CompletionsClient([first.url, second.url], "tiny")) as client,
        pytest.raises(ServedModelError, match=r"dtype of 'tiny' is bfloat16 and float16"),
    ):
        ServedModel(client, local.tokenizer)


def test_equal_rows_are_asked_once_and_tokens_are_those_that_the_server_counted(local):
    with served_by(local) as (fake, served):
        before = served.tokens_fed
        fake.bodies.clear()
        served.losses_at([[0, 40, 50]] * 3, [(row, 1, 50) for row in range(3)])
        assert [body["prompt"] for body in fake.bodies] == [[0, 40, 50]]
        assert served.tokens_fed == before + 3 + 1

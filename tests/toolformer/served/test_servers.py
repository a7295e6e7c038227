"""Servers that are busy, cut off or started again."""

import contextlib
import threading

import pytest

from tests.conftest import happens
from tests.toolformer.architectures import windows_of
from tests.toolformer.served.fake_server import ONE_TOKEN, asking, client_of, served_by, serving
from tests.toolformer.served.test_served_model import PROMPT, TEXTS, places_of
from toolformer.calls import call_open_id
from toolformer.errors import ServedModelError, ServerUnavailableError, TransientServerError
from toolformer.served import http_client
from toolformer.served.http_client import CompletionsClient
from toolformer.served.served_model import ServedModel


@pytest.fixture(scope="module")
def wanted(local):
    """Texts, places in them, and the losses that the model here has there."""
    windows = windows_of(local.tokenizer, *TEXTS)
    places = places_of(windows, call_open_id(local.tokenizer))
    return windows, places, pytest.approx(local.read(PROMPT, windows).losses(places), abs=1e-5)


@pytest.mark.parametrize(
    ("status", "error"),
    [(503, TransientServerError), (401, ServerUnavailableError), (402, ServerUnavailableError)],
)
def test_server_that_is_busy_while_it_is_probed_is_not_called_unfit(
    local, monkeypatch, status, error
):
    monkeypatch.setattr(http_client, "_FIRST_PATIENCE", 0.1)
    with asking(local) as (fake, client):
        answer, busy = fake.answer, {"error": {"message": "busy", "code": status}}
        # The probe of the last token of the vocabulary.
        monkeypatch.setattr(
            fake, "answer", lambda body: busy if body.get("prompt_logprobs") == 0 else answer(body)
        )
        with pytest.raises(error, match=rf"answered {status} \(busy\)"):
            ServedModel(client, local.tokenizer)


@pytest.mark.parametrize("failing", [{}, dict.fromkeys(range(99), 503)], ids=["slow", "busy"])
def test_closing_ends_what_another_thread_asks_at_once(local, failing):
    with serving(local, seconds=0 if failing else 10, failing=failing) as fake:
        client = client_of(fake)
        client.extend_patience()
        errors = []

        def ask():
            try:
                client.complete([ONE_TOKEN])
            except ServedModelError as error:
                errors.append(error)

        asking = threading.Thread(target=ask)
        asking.start()
        assert happens(lambda: fake.asked > 3 or fake.waiting)
        asking.join(0.3)
        assert asking.is_alive()
        client.close()
        asking.join(5)
        assert not asking.is_alive()
        assert errors


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
        client.model_card()


def test_proxies_of_the_environment_are_not_asked_for_this_machine(local, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setattr(http_client, "_FIRST_PATIENCE", 0.2)
    with asking(local) as (_, client):
        assert client.model_card().id == "tiny"


def test_full_server_and_cut_connections_cost_waiting_alone(local, wanted):
    windows, places, losses = wanted
    with served_by(local) as (fake, served):
        statuses = [429, 0, 503, 0, 429]
        fake.failing = {fake.asked + at: status for at, status in enumerate(statuses)}
        assert served.read(PROMPT, windows).losses(places) == losses
        assert not fake.failing


def test_answer_that_is_cut_off_after_the_whole_patience_is_asked_for_again(local, monkeypatch):
    monkeypatch.setattr(http_client, "_FIRST_PATIENCE", 0.1)
    with asking(local, seconds=0.2, failing={0: 0}) as (fake, client):
        assert client.complete([ONE_TOKEN])[0][0].logprobs
        assert fake.asked == 2


def test_text_that_the_server_broke_off_is_asked_for_again(local):
    with asking(local) as (fake, client):
        request = {"prompt": [0, 40], "max_tokens": 6, "temperature": 1, "logprobs": 0}
        [whole] = client.complete([request])
        fake.failing = {fake.asked: 200}
        assert client.complete([request]) == [whole]
        assert fake.asked == 3


def test_server_that_ends_and_is_started_again_loses_nothing(local, wanted):
    windows, places, losses = wanted
    answers = []
    with served_by(local) as (fake, served):
        port = int(fake.url.rpartition(":")[2])
        texts = served.read(PROMPT, windows)
    # Its client is closed with the first server; the second has one of its own.
    client = CompletionsClient(fake.url, "tiny")
    client.extend_patience()
    served._client = served.forms._client = client
    asking = threading.Thread(target=lambda: answers.extend(texts.losses(places)))
    asking.start()
    asking.join(0.3)
    assert asking.is_alive()
    with serving(local, port=port):
        asking.join(30)
    client.close()
    assert answers == losses


@pytest.mark.parametrize("failing", [{}, {0: 503}], ids=["silent", "failing"])
def test_who_watches_sees_what_is_waited_for_until_it_answers(local, monkeypatch, failing):
    monkeypatch.setattr(http_client, "_POLL_SECONDS", 0.01)
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
        contextlib.closing(CompletionsClient(fake.url, "tiny", waiting=waiting)) as client,
    ):
        client.model_card()
        assert not shown
        client.complete([ONE_TOKEN])
    silent = f"waiting: the server at {fake.url}/v1 is busy or stuck"
    failed = f"waiting: The server at {fake.url}/v1 answered 503 (full)"
    expected = [silent, "over", *([failed, "over"] if failing else [])]
    assert shown == expected


def test_equal_rows_are_asked_once_and_tokens_are_those_that_the_server_counted(local):
    with served_by(local) as (fake, served):
        before = served.tokens_fed
        fake.bodies.clear()
        served.losses_at([[0, 40, 50]] * 3, [(row, 1, 50) for row in range(3)])
        assert [body["prompt"] for body in fake.bodies] == [[0, 40, 50]]
        assert served.tokens_fed == before + 3 + 1

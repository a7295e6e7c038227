"""A served model says what the same model says on this machine, and bad servers are refused."""

import contextlib
import dataclasses
import logging
import queue
import threading
import time
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.conftest import happens
from tests.fakes import sampling_parameters, taught_model, tiny_model
from tests.toolformer.architectures import windows_of
from tests.toolformer.served.fake_server import serving
from toolformer.calls import call_open_id
from toolformer.decoding.completions import DecodingParameters, MinCallProbability
from toolformer.decoding.decoder import complete
from toolformer.decoding.decoding_row import RowSettings
from toolformer.decoding.live_batch import LiveBatch
from toolformer.decoding.live_text import LiveEnd, LiveRequest
from toolformer.errors import ServedModelError
from toolformer.forward.checkpoint import Checkpoint
from toolformer.forward.model import TOLD_RANKS, Branch, Continuation, Place
from toolformer.forward.tokenization import Tokenizer
from toolformer.samples import CallReader, branch_uniforms
from toolformer.sampling import sample_calls
from toolformer.scoring.call_scorer import Pruning, ScoringParameters
from toolformer.scoring.loss_form import PAPERS_FORM, Placement
from toolformer.scoring.losses import scorer_for
from toolformer.scoring.scored_call import ScoredCall
from toolformer.served import http_client
from toolformer.served.http_client import CompletionsClient
from toolformer.served.served_model import ServedModel
from tools.protocol import ToolCall

PROMPT = "Calls.\nIn: {text}\nOutput:"
LESSONS = ("6 times 7 is [QA(6 * 7) -> 42] 42, I say.", "9 and 3 is [QA(9 + 3) -> 12] 12, I say.")
PROMPTS = ("6 times 7 is", "The mill is")
TEXTS = ("Six times seven is 42.", "It rained here.", "The mill of 1869 stands.")


@pytest.fixture(scope="module")
def local():
    return tiny_model(context_length=1024)


@contextlib.contextmanager
def served_by(local, **options):
    """The fake server of a model, and that model as it is asked there."""
    with serving(local, **options) as fake, contextlib.closing(client_of(fake)) as client:
        yield fake, ServedModel(client, local.tokenizer)


def client_of(fake, *, model="tiny", key=None):
    return CompletionsClient([fake.url], model, key=key)


@pytest.fixture(scope="module")
def pair(local):
    with served_by(local) as (fake, model):
        yield fake, model


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(http_client, "_LONGEST_WAIT", 0.1)


def places_of(windows, open_id):
    return [
        (Place(row, position), token)
        for row, window in enumerate(windows)
        for position in range(len(window.ids))
        for token in (window.ids[position], open_id)
    ]


@pytest.mark.parametrize("prompt", [PROMPT, None])
@pytest.mark.parametrize("faults", [set(), {"no_listing"}])
def test_losses_of_texts_equal_those_of_the_same_model_here(local, prompt, faults):
    windows = windows_of(local.tokenizer, *TEXTS)
    places = places_of(windows, call_open_id(local.tokenizer))
    with served_by(local, faults=faults) as (_, served):
        losses = served.read(prompt, windows).losses(places)
    assert losses == pytest.approx(local.read(prompt, windows).losses(places), abs=1e-5)


def test_ranks_and_continuations_equal_those_of_the_same_model_here(local, pair):
    windows, open_id = windows_of(local.tokenizer, *TEXTS), call_open_id(local.tokenizer)
    places = [Place(0, 3), Place(1, 0), Place(2, 5)]
    continuations = [
        Continuation(place, (open_id, 40, 50), windows[place.row].ids[place.position :][:4])
        for place in places
    ]
    ours, theirs = local.read(None, windows), pair[1].read(None, windows)
    assert [rank for rank, _ in theirs.ranks(places, open_id)] == [
        rank for rank, _ in ours.ranks(places, open_id)
    ]
    expected = ours.continuation_losses(continuations)
    for losses, wanted in zip(theirs.continuation_losses(continuations), expected, strict=True):
        assert losses == pytest.approx(wanted, abs=1e-5)


def test_two_tokens_wanted_behind_the_end_of_a_row_have_their_own_losses(local, pair):
    rows, places = [[0, 40, 50], [0, 41]], [(0, 2, 60), (0, 2, 61), (0, 0, 40), (1, 1, 62)]
    expected = local.losses_at(rows, places)
    assert pair[1].losses_at(rows, places) == pytest.approx(expected, abs=1e-5)


def test_likeliest_tokens_of_a_text_spare_requests_where_the_threshold_lets_them(local, pair):
    fake, served = pair
    windows, open_id = windows_of(local.tokenizer, *TEXTS), call_open_id(local.tokenizer)
    places = [(Place(0, at), open_id) for at in range(1, len(windows[0].ids))]
    exact = local.read(PROMPT, windows).losses(places)
    fake.bodies.clear()
    losses = served.read(PROMPT, windows).losses(places, min_probability=0.05)
    assert len(fake.bodies) == 1
    for loss, wanted in zip(losses, exact, strict=True):
        assert loss == pytest.approx(wanted, abs=1e-5) or (loss > 1e9 and wanted > 2.99)
    served.read(PROMPT, windows).losses(places, min_probability=0.04)
    assert len(fake.bodies) == 1 + len(places)


def test_samples_have_the_log_probabilities_of_the_model_and_end_as_its_own(local, pair):
    windows, forced = (
        windows_of(local.tokenizer, *TEXTS),
        local.tokenizer.encode_pieces([" [", "QA("]),
    )
    places = [Place(0, 2), Place(1, 1)]
    groups = [
        [Branch(branch_uniforms(7, "d", 0, "QA", at, number, count=6)) for number in range(3)]
        for at in range(2)
    ]
    pair[1].read(PROMPT, windows).sample(
        places,
        groups,
        forced_ids=forced,
        max_new_tokens=6,
        temperature=0.7,
        is_finished=lambda branch: len(branch.tokens) == 5,
    )
    branches = [
        (place, each) for place, group in zip(places, groups, strict=True) for each in group
    ]
    assert len({tuple(branch.tokens) for _, branch in branches}) > 1
    read = local.read(PROMPT, windows)
    continuations = [
        Continuation(place, tuple(forced), tuple(branch.tokens)) for place, branch in branches
    ]
    for losses, (_, branch) in zip(read.continuation_losses(continuations), branches, strict=True):
        assert branch.log_probability == pytest.approx(-sum(losses), abs=1e-4)
        assert len(branch.tokens) == 5 or branch.tokens[-1] == 1


def test_samples_end_at_the_server_where_the_call_does_and_are_the_same(local):
    windows = windows_of(local.tokenizer, *TEXTS)

    def sampled(served):
        branches = [
            Branch(branch_uniforms(7, "d", 0, "QA", 2, number, count=24)) for number in range(40)
        ]
        served.read(None, windows).sample(
            [Place(0, 2)],
            [branches],
            forced_ids=local.tokenizer.encode_pieces([" [", "QA("]),
            max_new_tokens=24,
            temperature=1.0,
            is_finished=lambda branch: CallReader(True).is_finished(branch.token_texts),
        )
        return [(branch.tokens, branch.is_finished) for branch in branches]

    told = []
    # Some engines leave out the bracket that ends a call, or take no stop texts.
    for faults in (set(), {"stops_short"}, {"no_stops"}):
        with served_by(local, faults=faults) as (fake, served):
            assert served.found.stops_samples is not bool(faults)
            fake.bodies.clear()
            told.append(sampled(served))
            stops = {tuple(body.get("stop", ())) for body in fake.bodies}
            assert stops == {() if faults else ("]", "\n")}
    assert told[0] == told[1] == told[2]
    assert any(is_finished for _, is_finished in told[0])


def test_call_positions_and_probabilities_equal_those_of_the_same_model_here(local, pair):
    windows = windows_of(local.tokenizer, *TEXTS)

    def sampled(model, threshold):
        rows = sample_calls(
            model,
            PROMPT,
            windows,
            tool_name="QA",
            takes_arguments=False,
            parse_arguments=str.strip,
            parameters=sampling_parameters(sampling_threshold=threshold, positions_per_text=50),
        )
        return {(row.document_id, row.position): row.call_probability for row in rows}

    for threshold in (0.0, 0.05):
        assert sampled(pair[1], threshold) == pytest.approx(sampled(local, threshold), abs=1e-5)
    assert sampled(local, 0.0)


@pytest.mark.parametrize("placement", list(Placement))
def test_losses_of_calls_equal_those_of_the_same_model_here(local, pair, tmp_path, placement):
    windows = windows_of(local.tokenizer, *TEXTS)
    by_key = {(window.document_id, window.index): window for window in windows}
    calls = [
        ScoredCall(f"{number}-{at}", key, at, ToolCall("QA", f"what {at}?"), "42")
        for number, key in enumerate(by_key)
        for at in (0, 4, 9)
    ]
    form = dataclasses.replace(PAPERS_FORM, placement=placement)

    def scored(model):
        scorer = scorer_for(model, by_key, ScoringParameters(form, empty_result_keeps_arrow=False))
        return scorer.score(
            calls,
            pruning=Pruning(-99.0),
            checkpoint=Checkpoint(tmp_path / str(id(model)), fingerprint=""),
            progress=lambda *_: None,
        )

    ours, theirs = scored(local), scored(pair[1])
    for call_id, losses in ours.items():
        told = dataclasses.asdict(theirs[call_id])
        assert told == pytest.approx(dataclasses.asdict(losses), abs=1e-5)


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
        assert client.complete([request])[0].logprobs
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


@pytest.fixture(scope="module")
def taught():
    return taught_model((*LESSONS, "The mill is old, I say."))


def parameters_of(**changes):
    parameters = {
        "max_new_tokens": 8,
        "call_top_k": 10,
        "max_calls": 1,
        "max_call_tokens": 12,
        "max_result_tokens": 8,
        "tools": ("QA",),
    }
    return DecodingParameters(**(parameters | changes))


def completed(model, prompts=PROMPTS, *, run_calls=None, **changes):
    return complete(
        model,
        prompts,
        parameters=parameters_of(**changes),
        run_calls=run_calls or (lambda calls: ["42"] * len(calls)),
    )


def assert_equal(theirs, ours):
    """Equal but for last digits, and for ranks that a server does not tell."""
    for their, our in zip(theirs, ours, strict=True):
        assert len(their.trace) == len(our.trace)
        for told, step in zip(their.trace, our.trace, strict=True):
            assert (told.log_probability is None) == (step.log_probability is None)
            if step.log_probability is not None:
                assert told.log_probability == pytest.approx(step.log_probability, abs=1e-5)
            if told.call_rank is None:
                assert step.call_rank is None or step.call_rank > TOLD_RANKS
            else:
                assert told.call_probability == pytest.approx(step.call_probability, abs=1e-5)
        blank = [
            dataclasses.replace(
                each,
                trace=tuple(
                    dataclasses.replace(step, call_rank=step.call_rank and told.call_rank)
                    for step, told in zip(each.trace, their.trace, strict=True)
                ),
            )
            for each in (their, our)
        ]
        assert blank[0] == blank[1]


def test_completions_with_calls_equal_those_of_the_same_model_here(taught):
    with served_by(taught) as (_, served):
        ours = completed(taught)
        assert {len(each.calls) for each in ours} == {0, 1}
        assert_equal(completed(served), ours)


@pytest.mark.parametrize(
    "changes",
    [{"tools": ()}, {"blocked_tools": ("QA",)}, {"max_call_tokens": 2}, {"call_top_k": 30}],
    ids=["disabled", "blocked", "too long", "large k"],
)
def test_completions_without_a_result_equal_those_of_the_same_model_here(taught, changes):
    with served_by(taught) as (_, served):
        assert_equal(completed(served, **changes), completed(taught, **changes))


def test_call_without_a_result_is_taken_back_as_here(taught):
    def refuse(calls):
        return [None] * len(calls)

    with served_by(taught) as (_, served):
        ours = completed(taught, run_calls=refuse)
        assert ours[0].undone_calls
        assert_equal(completed(served, run_calls=refuse), ours)


def test_completions_without_calls_are_used_only_as_far_as_ranks_were_told(taught):
    with served_by(taught) as (fake, served):
        disabled = completed(served, tools=())
        assert any(step.call_rank is None for each in disabled for step in each.trace)
        fake.bodies.clear()
        parameters = {"call_top_k": 30, "min_call_probability": MinCallProbability.everywhere(0.9)}
        assert_equal(completed(served, **parameters), completed(taught, **parameters))


def test_expected_tokens_within_prompts_equal_those_of_the_same_model_here(taught):
    open_id = call_open_id(taught.tokenizer)
    rows = [[taught.bos_id, *taught.tokenizer.encode(prompt)] for prompt in PROMPTS]
    options = {"top": [0, 3], "open_id": open_id, "counts": [2, 5]}
    with served_by(taught) as (_, served):
        theirs = served.given_tokens(rows, **options)
    for (given, behind), (wanted, here) in zip(
        theirs, taught.given_tokens(rows, **options), strict=True
    ):
        assert [each.rank for each in given] == [each.rank for each in wanted]
        assert behind.ranked[:2] == here.ranked[:2]
        for each, other in zip(given, wanted, strict=True):
            assert each.log_probability == pytest.approx(other.log_probability, abs=1e-5)
            assert [token for token, _ in each.top] == [token for token, _ in other.top]


def test_other_tokens_than_the_likeliest_are_asked_for(local, pair):
    row, open_id = [[0, 40, 50]], call_open_id(local.tokenizer)
    (theirs,) = pair[1].contexts(1).next_tokens(row, open_id=open_id, count=2)
    (ours,) = local.contexts(1).next_tokens(row, open_id=open_id, count=30)
    unlikely = next(token for token in range(100, 200) if token not in theirs.ranked)
    assert theirs.log_probability(unlikely) == pytest.approx(
        ours.log_probability(unlikely), abs=1e-5
    )
    assert theirs.likeliest_but(ours.ranked[:3]) == ours.ranked[3]
    with pytest.raises(ServedModelError, match="block fewer tools"):
        theirs.likeliest_but(ours.ranked)
    drawn = {theirs.drawn(uniform / 20, 5.0) for uniform in range(20)}
    assert len(drawn) > 1
    for token in drawn:
        assert theirs.told[token] == pytest.approx(ours.log_probability(token), abs=1e-5)
    # Cold, the likeliest is drawn each time; where it is banned, the next one is taken.
    first, second = ours.ranked[:2]
    for expected in (theirs, ours):
        assert expected.drawn(0.5, 0.01) == first
        assert expected.drawn(0.5, 0.01, banned=first) == second
        assert {expected.drawn(uniform / 20, 5.0, banned=first) for uniform in range(20)} - {first}
        # Of so few that they have no probability to speak of the likeliest is left.
        assert {expected.drawn(uniform / 20, 5.0, top_p=0) for uniform in range(20)} == {first}
        assert expected.drawn(0.5, 5.0, top_p=0, banned=first) == second


@pytest.mark.parametrize("failing", [{}, dict.fromkeys(range(9999), 503)], ids=["slow", "busy"])
def test_texts_that_wait_for_a_server_end_with_the_batch(taught, failing):
    ends = queue.SimpleQueue()
    with served_by(taught) as (fake, served):
        batch = LiveBatch(served, max_active=4, max_waiting=4)
        batch.start()
        fake.failing, fake.seconds = failing, 0 if failing else 60
        settings = RowSettings(parameters_of(max_new_tokens=8), str.strip)
        batch.submit(LiveRequest("The mill", settings, lambda _: None), ends.put)
        assert happens(lambda: batch.active)
        began = time.monotonic()
        batch.close(0.2)
        assert time.monotonic() - began < 20
    assert ends.get_nowait() == LiveEnd(None)


def test_server_that_tells_too_few_tokens_behind_a_text_does_not_decode(taught):
    with (
        served_by(taught, faults={"small_top"}) as (_, served),
        pytest.raises(ServedModelError, match="--max-logprobs 20"),
    ):
        completed(served)

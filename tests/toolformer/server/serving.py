"""A real server in a thread, or in a process of its own, over the fake engine."""

import contextlib
import signal
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import httpx2 as httpx

from dagster_project.commands import console
from tests.fakes import byte_tokenizer
from tests.toolformer.server.fake_engine import FakeBatch
from toolformer.decoding.completions import MinCallProbability
from toolformer.decoding.live_batch import LiveBatch
from toolformer.forward.language_model import LanguageModel
from toolformer.forward.tokenization import Tokenizer
from toolformer.home.wiring.toolbox import Toolbox
from toolformer.server.app import make_app
from toolformer.server.request_log import log_to_standard_error
from toolformer.server.running import Server, bound_socket
from toolformer.server.served import Served
from toolformer.settings.sections import Settings
from tools.calculator import Calculator
from tools.calendar import Calendar


def made_served(
    batch: FakeBatch | LiveBatch,
    name: str,
    examples: Sequence[tuple[str, str]] = (),
    tokenizer: Tokenizer | None = None,
    calls_in_text: bool = True,
) -> Served:
    tokenizer = tokenizer or byte_tokenizer()
    model = SimpleNamespace(
        name=name,
        precision="float32",
        context_length=512,
        tokenizer=tokenizer,
        vocabulary_size=tokenizer.vocabulary_size,
    )
    tools = {"Calculator": Calculator(), "Calendar": Calendar(date_source="published_on")}
    unavailable = {"QA": "The tool QA is unavailable: there is no index. Make one."}
    # Of a tool that was given up, were failures not counted anew.
    toolbox = Toolbox(tools, {}, unavailable, failures=Counter(Calculator=20))
    return Served(
        model=model,  # pyright: ignore[reportArgumentType]
        batch=batch,  # pyright: ignore[reportArgumentType]
        settings=Settings.model_validate({"decoding": {"max_new_tokens": 7}}),
        toolbox=toolbox,
        min_call_probability=MinCallProbability(0.25, 0.125),
        examples=examples,
        calls_in_text=calls_in_text,
    )


@dataclass(frozen=True)
class Running:
    """A server that answers.

    Attributes:
        client: asks it.
        batch: decodes.
    """

    client: httpx.Client
    batch: FakeBatch

    @property
    def port(self) -> int:
        return self.client.base_url.port or 0

    def complete(self, prompt="6 * 7", **fields) -> httpx.Response:
        return self.client.post("/v1/completions", json={"prompt": prompt, **fields})

    def chat(self, messages: object = "6 * 7", **fields) -> httpx.Response:
        """Ask a chat of these messages, or of one of the user's."""
        if isinstance(messages, str):
            messages = [{"role": "user", "content": messages}]
        return self.client.post("/v1/chat/completions", json={"messages": messages, **fields})


def made_server(
    batch: FakeBatch | LiveBatch,
    *,
    name="tiny/model",
    key=None,
    logs_prompts=False,
    examples: Sequence[tuple[str, str]] = (),
    tokenizer: Tokenizer | None = None,
    calls_in_text=True,
    allowed_hosts: Sequence[str] = (),
    cors_origins: Sequence[str] = (),
    **options,
):
    """A server, its socket and its address."""
    served = made_served(batch, name, examples, tokenizer, calls_in_text)
    app = make_app(
        served,
        bound_to="127.0.0.1",
        key=key,
        logs_prompts=logs_prompts,
        allowed_hosts=allowed_hosts,
        cors_origins=cors_origins,
    )
    bound = bound_socket("127.0.0.1", 0)
    return Server(app, **options), bound, f"http://127.0.0.1:{bound.getsockname()[1]}"


@contextlib.contextmanager
def serving(
    batch: FakeBatch | None = None, *, closing_seconds: float = 0.0, **options
) -> Iterator[Running]:
    """Serve until the block is left; options as of `made_server`."""
    batch, started = batch or FakeBatch(), threading.Event()
    served = made_server(batch, on_start=started.set, closing_seconds=closing_seconds, **options)
    with _running(*served, started) as client:
        yield Running(client, batch)
    batch.close()


@contextlib.contextmanager
def _running(server, bound, address, started) -> Iterator[httpx.Client]:
    thread = threading.Thread(target=server.run, args=([bound],), daemon=True)
    thread.start()
    assert started.wait(10)
    with httpx.Client(base_url=address, timeout=60, trust_env=False) as client:
        try:
            yield client
        finally:
            server.handle_exit(signal.SIGTERM, None)
            thread.join(15)
    assert not thread.is_alive()


@contextlib.contextmanager
def serving_model(model: LanguageModel, *, max_active=4, **options) -> Iterator[httpx.Client]:
    """Serve a model, decoded by the real batch."""
    batch = LiveBatch(model, max_active=max_active, max_waiting=64)
    batch.start()
    served = made_server(
        batch, tokenizer=model.tokenizer, on_start=(started := threading.Event()).set, **options
    )
    with _running(*served, started) as client:
        yield client
    batch.close()


def main() -> None:
    """Serve in this process; the address is printed."""
    log_to_standard_error()
    server, bound, address = made_server(
        FakeBatch(), on_start=lambda: console.say(address), closing_seconds=20
    )
    server.run([bound])


if __name__ == "__main__":
    main()

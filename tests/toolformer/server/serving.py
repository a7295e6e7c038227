"""A real server in a thread, or in a process of its own, over the fake engine."""

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import httpx2 as httpx

from dagster_project.commands import console
from tests.conftest import happens
from tests.fakes import byte_tokenizer
from tests.toolformer.server.fake_engine import FakeBatch
from toolformer.decoding.completions import MinCallProbability
from toolformer.decoding.live_batch import LiveBatch
from toolformer.forward.language_model import LanguageModel
from toolformer.forward.tokenization import Tokenizer
from toolformer.home.wiring.toolbox import Toolbox
from toolformer.server.app import make_app
from toolformer.server.model_service import ModelService
from toolformer.server.running import bound_socket, make_server, serve
from toolformer.settings.sections import Settings
from tools.calculator import Calculator
from tools.calendar import Calendar


def made_served(
    batch: FakeBatch | LiveBatch,
    name="tiny/model",
    examples: Sequence[tuple[str, str]] = (),
    tokenizer: Tokenizer | None = None,
    calls_in_text=True,
) -> ModelService:
    model = SimpleNamespace(
        name=name, context_length=512, tokenizer=tokenizer or byte_tokenizer(), bos_id=0
    )
    tools = {"Calculator": Calculator(), "Calendar": Calendar(date_source="published_on")}
    unavailable = {"QA": "The tool QA is unavailable: there is no index. Make one."}
    # Of a tool that was given up, were failures not counted anew.
    toolbox = Toolbox(tools, {}, unavailable, failures=Counter(Calculator=20))
    return ModelService(
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


@contextlib.contextmanager
def _served(
    batch: FakeBatch | LiveBatch,
    *,
    key=None,
    allowed_hosts: Sequence[str] = (),
    cors_origins: Sequence[str] = (),
    closing_seconds=0,
    **options,
) -> Iterator[httpx.Client]:
    """Serve until the block is left; options as of `made_served`."""
    app = make_app(
        made_served(batch, **options),
        key=key,
        allowed_hosts=allowed_hosts,
        cors_origins=cors_origins,
    )
    server, bound = make_server(app, closing_seconds=closing_seconds), bound_socket("127.0.0.1", 0)
    address = f"http://127.0.0.1:{bound.getsockname()[1]}"
    thread = threading.Thread(target=server.run, args=([bound],), daemon=True)
    thread.start()
    assert happens(lambda: server.started)
    with httpx.Client(base_url=address, timeout=60, trust_env=False) as client:
        try:
            yield client
        finally:
            server.should_exit = True
            thread.join(15)
    assert not thread.is_alive()
    batch.close()


@contextlib.contextmanager
def serving(batch: FakeBatch | None = None, **options) -> Iterator[Running]:
    """Serve the fake engine; options as of `_served`."""
    batch = batch or FakeBatch()
    with _served(batch, **options) as client:
        yield Running(client, batch)


@contextlib.contextmanager
def serving_model(model: LanguageModel, *, max_active=4, **options) -> Iterator[httpx.Client]:
    """Serve a model, decoded by the real batch."""
    batch = LiveBatch(model, max_active=max_active, max_waiting=64)
    batch.start()
    with _served(batch, tokenizer=model.tokenizer, **options) as client:
        yield client


def main() -> None:
    """Serve in this process; the address is printed."""
    bound = bound_socket("127.0.0.1", 0)
    bound.listen()
    console.say(f"http://127.0.0.1:{bound.getsockname()[1]}")
    serve(make_app(made_served(FakeBatch())), bound)
    console.say("closed")


if __name__ == "__main__":
    main()

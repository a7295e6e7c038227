"""`toolformer serve`: serve a model with live tool calls to OpenAI clients and browsers."""

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import typer

from dagster_project.commands import console
from dagster_project.commands.complete import live_model
from dagster_project.commands.options import Changes, ModelName, RunOptions, ToolNames, names_in
from toolformer.home.wiring.models import finetuned_model_directory, name_of_model, name_of_variant
from toolformer.home.wiring.workspace import Workspace
from toolformer.settings.evaluation_sections import BASE
from warehouse.errors import WarehouseError

_LOGGER = logging.getLogger(__name__)
# Maximum length of the queue. Further requests are rejected.
_MAX_WAITING = 64

app = typer.Typer()


@app.command()
def serve(
    host: Annotated[
        str,
        typer.Option(
            help="Address to listen on. One that other machines can reach needs TOOLFORMER_API_KEY."
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 picks a free port.")
    ] = 8000,
    max_active: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Maximum number of texts decoded at the same time. Default: as many as the "
            "device can hold.",
        ),
    ] = None,
    no_calls_in_text: Annotated[
        bool, typer.Option("--no-calls-in-text", help="Remove the calls from the text of answers.")
    ] = False,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Another host name for which a server without a key answers. Repeatable.",
        ),
    ] = None,
    cors_origin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ORIGIN",
            help="Origin whose web pages may send requests, such as https://chat.example.org. "
            "Repeatable.",
        ),
    ] = None,
    tools: ToolNames = None,
    model: ModelName = None,
    changes: Changes = None,
) -> None:
    """Serve the model with live tool calls: an OpenAI-style API and a web page."""
    from toolformer.decoding.live_batch import LiveBatch
    from toolformer.server import running
    from toolformer.server.app import KEY_VARIABLE, check_access, make_app
    from toolformer.server.model_service import ModelService

    options = RunOptions.of(changes, tools=names_in(tools))
    key = os.environ.get(KEY_VARIABLE) or None
    check_access(host, key)
    # Bind before the model is loaded, so that an occupied port fails at once.
    with (
        running.bound_socket(host, port) as bound,
        live_model(options.workspace(), tools=options.tools, model_name=model) as live,
    ):
        # Load in a thread that ends together with torch's thread pool. A second pool next to the
        # one of the decoding thread would slow decoding by a quarter.
        with ThreadPoolExecutor(1) as loading:
            loaded = loading.submit(live.load).result()
        for tool in live.toolbox.tools.values():
            tool.prepare()
        served = ModelService(
            model=loaded,
            batch=LiveBatch(loaded, max_active=max_active, max_waiting=_MAX_WAITING),
            settings=live.work.settings,
            toolbox=live.toolbox,
            min_call_probability=live.min_call_probability,
            examples=correctly_answered_examples(model, live.location.directory, live.work),
            calls_in_text=not no_calls_in_text,
        )
        app = make_app(
            served, key=key, allowed_hosts=allowed_host or (), cors_origins=cors_origin or ()
        )
        address = f"http://{f'[{host}]' if ':' in host else host}:{bound.getsockname()[1]}"
        names = ", ".join(live.toolbox.tools) or "no tools"
        bound.listen()
        console.say(f"{address} serves {loaded.name} with {names}. Press Ctrl-C to stop.")
        served.batch.start()
        try:
            running.serve(app, bound)
        finally:
            served.batch.close()


def correctly_answered_examples(
    model_name: str | None, directory: Path, work: Workspace
) -> list[tuple[str, str]]:
    """Return the tool and prompt of items that the model answered correctly through a call.

    Only models that the home has evaluated have such items.
    """
    if directory == finetuned_model_directory(work):
        key = name_of_variant(work.settings.training.variant)
    elif model_name in (None, BASE):
        key = BASE
    else:
        return []
    if not work.home.warehouse.is_dir():
        return []
    try:
        rows = work.warehouse.ask("right_with_call", model=name_of_model(key, work.settings))
    except (WarehouseError, OSError) as error:
        # A model can be served without the home's warehouse.
        _LOGGER.warning("The web page shows default examples, not evaluated ones: %s", error)
        return []
    return list(rows.iter_rows())

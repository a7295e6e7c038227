"""The commands of the panel Use: the finished model."""

from typing import Annotated

import typer

from dagster_project.commands.flags import Changes, ModelName, Today, ToolNames, names_in

app = typer.Typer()


@app.command()
def complete(
    text: Annotated[str, typer.Argument(help="The text to continue.")],
    tools: ToolNames = None,
    no_tools: Annotated[bool, typer.Option("--no-tools", help="Disable calls.")] = False,
    trace: Annotated[bool, typer.Option("--trace", help="Show every token.")] = False,
    model: ModelName = None,
    today: Today = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Write up to this many tokens. Default: to the end of the sentence, and at most "
            "decoding.max_new_tokens.",
        ),
    ] = None,
    changes: Changes = None,
) -> None:
    """Continue a text to the end of its sentence, calling tools on the way."""
    from dagster_project.commands.completing import complete_text
    from dagster_project.commands.options import RunOptions

    complete_text(
        text,
        RunOptions.of(changes, tools=names_in(tools)),
        with_calls=not no_tools,
        show_trace=trace,
        model_name=model,
        today=today,
        max_tokens=max_tokens,
    )


@app.command()
def serve(
    host: Annotated[
        str,
        typer.Option(help="Address to listen on; beyond this machine needs TOOLFORMER_API_KEY."),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 for any.")] = 8000,
    max_active: Annotated[
        int, typer.Option(min=1, help="Maximum texts that are decoded at the same time.")
    ] = 32,
    no_calls_in_text: Annotated[
        bool,
        typer.Option("--no-calls-in-text", help="Leave the calls out of the texts of answers."),
    ] = False,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Another name of a server without a key. Repeatable."),
    ] = None,
    cors_origin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ORIGIN",
            help="A site whose pages may ask, such as https://chat.example.org. Repeatable.",
        ),
    ] = None,
    tools: ToolNames = None,
    model: ModelName = None,
    changes: Changes = None,
) -> None:
    """Serve the model with live calls: OpenAI's API for completions and chats, and a page at /."""
    from dagster_project.commands.options import RunOptions
    from dagster_project.commands.serving import serve_model

    serve_model(
        RunOptions.of(changes, tools=names_in(tools)),
        model_name=model,
        host=host,
        port=port,
        max_active=max_active,
        calls_in_text=not no_calls_in_text,
        allowed_hosts=allowed_host or (),
        cors_origins=cors_origin or (),
    )

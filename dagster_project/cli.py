"""The `toolformer` command, which runs the stages of the Dagster UI without a browser.

Each command is a function in the module of the same name in `dagster_project/commands`.
"""

import sys
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from dagster_project.commands import console
from dagster_project.examples import EXAMPLES

# Help panels: the commands in each, with the line that `toolformer --help` shows for a command.
PANELS = {
    "Build": {
        "ingest": "Add texts to the corpus and cut them into shards.",
        "build": "Sample, execute and filter calls, then merge the kept calls into the texts.",
        "train": "Finetune the model or one of its controls on the augmented texts of all shards.",
        "evaluate": "Evaluate models on benchmarks, with calls disabled and enabled.",
        "recipe": "Run build, train, evaluate and report one after the other.",
    },
    "Inspect": {
        "stats": "Show how many calls are kept, why others are dropped, and examples.",
        "sql": "Query calls, losses, drop reasons, texts and scores with SQL.",
        "report": "Write an HTML report: calls, gains, costs, and the texts with their calls.",
        "explain": "Show one call in its text, its losses token by token, and the decision.",
        "compare": "Compare the kept calls of two homes, and show why they differ.",
        "labels": "Let people judge kept calls in a spreadsheet.",
        "export": "Export the augmented texts and their calls for other programs.",
    },
    "Use": {
        "complete": "Continue a text to the end of the sentence, with live tool calls.",
        "serve": "Serve the model with live tool calls: an OpenAI-style API and a web page.",
    },
    "Maintain": {
        "doctor": "Show what is missing or broken on this machine, and how to fix it.",
        "sources": "List and remove the sources of the corpus.",
        "tools": "List, try and check the tools.",
    },
}
# These commands only read, so they must not create a home.
_READING = (*PANELS["Inspect"], "sources", "train")


class _Commands(TyperGroup):
    """Group that imports the module of a command only when the command is used."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, found, rest = super().resolve_command(ctx, args)
        return name, command(name) if name else found, rest


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    # Inherited by every command.
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


def _show_version(is_asked: bool) -> None:
    if is_asked:
        from importlib.metadata import version

        console.say(f"toolformer {version('toolformer')}")
        raise typer.Exit


@app.callback()
def toolformer(
    context: typer.Context,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
    ] = False,
    _quiet: Annotated[
        bool,
        typer.Option(
            "--quiet", "-q", callback=console.be_quiet, expose_value=False, help="Hide progress."
        ),
    ] = False,
) -> None:
    """Let a language model teach itself to use tools (Toolformer, Schick et al. 2023)."""
    is_helping = not {"-h", "--help"}.isdisjoint(sys.argv)
    if context.invoked_subcommand == "compare":
        return  # `compare` takes its homes as arguments.
    if context.invoked_subcommand in _READING and not is_helping:
        from toolformer.home.home import Home

        Home.find().check_exists()


def program() -> Any:
    group: Any = typer.main.get_command(app)
    for panel, lines in PANELS.items():
        for name, line in lines.items():
            group.add_command(TyperCommand(name, help=line, rich_help_panel=panel))
    return group


def command(name: str) -> Any:
    """Import a command; add `-q` and examples to it and its subcommands."""
    module = import_module(f"dagster_project.commands.{name}")
    found: Any = typer.main.get_group(module.app).commands[name]
    (quiet,) = (each for each in typer.main.get_command(app).params if each.name == "_quiet")
    below = {f"{name} {each}": sub for each, sub in getattr(found, "commands", {}).items()}
    for path, each in {name: found, **below}.items():
        each.params.append(quiet)
        if lines := EXAMPLES.get(path):
            each.epilog = "Examples:\n\n" + "\n\n".join(lines)
    return found


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line. An expected error prints one paragraph and exits with code 1."""
    from dagster_project.commands.errors import explained_errors

    with explained_errors():
        program()(arguments)


if __name__ == "__main__":
    main()

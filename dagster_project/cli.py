"""The `toolformer` command: the stages and settings of the Dagster UI, without a browser.

A command is a function in the module of its name in `dagster_project/commands`.
"""

import sys
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from dagster_project.commands import console
from dagster_project.examples import EXAMPLES

# Panels of the help with their commands, and the line that the help shows for each.
PANELS = {
    "Build": {
        "ingest": "List sources of text and cut them into shards.",
        "build": "Sample, execute and filter calls, and merge the kept ones into the texts.",
        "train": "Finetune the model, or a control, on the augmented texts of all shards.",
        "evaluate": "Measure models on benchmarks, with calls disabled and enabled.",
        "recipe": "Run build, train, evaluate and report in turn.",
    },
    "Look": {
        "stats": "Show how many calls were kept and why, at which thresholds, with examples.",
        "sql": "Query calls, losses, reasons, texts and scores in SQL.",
        "report": "Write an HTML page of calls, gains and costs, and the texts with their calls.",
        "explain": "Show a call in its text, its losses token by token, and the decision.",
        "compare": "Show which calls two homes keep, and why only one keeps the others.",
        "labels": "Let people judge kept calls in a spreadsheet.",
        "export": "Write the augmented texts and their calls for other programs.",
    },
    "Use": {
        "complete": "Continue a text to the end of its sentence, calling tools on the way.",
        "serve": "Serve the model with live calls: OpenAI's API, and a page at /.",
    },
    "Maintain": {
        "doctor": "Show what is missing on this machine and how to get it.",
        "sources": "List and remove the sources of the corpus.",
        "tools": "List, try and check the tools.",
    },
}
# These only read: they do not create a home.
_READING = (*PANELS["Look"], "sources", "train")


class _Commands(TyperGroup):
    """Knows only names and help lines; imports a command's module when the command is named."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """See `TyperGroup.resolve_command`."""
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
            "--quiet", "-q", callback=console.be_quiet, expose_value=False, help="Show no progress."
        ),
    ] = False,
) -> None:
    """Let a language model teach itself to use tools (Toolformer, Schick et al. 2023)."""
    is_helping = not {"-h", "--help"}.isdisjoint(sys.argv)
    if context.invoked_subcommand == "compare":
        return  # It names its homes.
    if context.invoked_subcommand in _READING and not is_helping:
        from toolformer.home.home import Home

        Home.find().check_exists()


def program() -> Any:
    """Return the whole command."""
    group: Any = typer.main.get_command(app)
    for panel, lines in PANELS.items():
        for name, line in lines.items():
            group.add_command(TyperCommand(name, help=line, rich_help_panel=panel))
    return group


def command(name: str) -> Any:
    """Import a command, and give it and the commands below it `-q` and examples."""
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
    """Run the command; an expected error is one paragraph and exit code 1."""
    from dagster_project.commands.errors import explained_errors

    with explained_errors():
        program()(arguments)


if __name__ == "__main__":
    main()

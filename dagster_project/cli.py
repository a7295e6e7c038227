"""The `toolformer` command: the same stages and settings as the Dagster UI, without a browser."""

import gc
import sys
from typing import Annotated, Any

import typer

from dagster_project.commands import console
from dagster_project.examples import EXAMPLES
from dagster_project.panels import build, look, maintain, use

# The panels of the help, and the commands in each, in this order.
PANELS = {
    "Build": ("ingest", "build", "train", "evaluate", "recipe"),
    "Look": ("stats", "sql", "report", "explain", "compare", "labels", "export"),
    "Use": ("complete", "serve"),
    "Maintain": ("doctor", "sources", "tools"),
}
# These begin nothing: where there is no home, they make none.
_READING = (*PANELS["Look"], "sources", "train")
_COLLECTIONS_BEFORE_A_FULL_ONE = 100

app = typer.Typer(
    no_args_is_help=True,
    # Inherited by every command.
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
app.add_typer(build.app)
app.add_typer(look.app)
app.add_typer(use.app)
app.add_typer(maintain.app)


def _tell_version(is_asked: bool) -> None:
    if is_asked:
        from importlib.metadata import version

        console.say(f"toolformer {version('toolformer')}")
        raise typer.Exit


@app.callback()
def toolformer(
    context: typer.Context,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version."),
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

        Home.find().check_there()


def _complete_command() -> Any:
    """The command with its panels; `-q` and examples with every sub-command as well."""
    command: Any = typer.main.get_command(app)
    (quiet,) = (option for option in command.params if option.name == "_quiet")

    def add_option_and_examples(group: Any, path: str) -> None:
        for name, below in group.commands.items():
            below.params.append(quiet)
            if lines := EXAMPLES.get(path + name):
                below.epilog = "Examples:\n\n" + "\n\n".join(lines)
            if hasattr(below, "commands"):
                add_option_and_examples(below, f"{path}{name} ")

    add_option_and_examples(command, "")
    ordered = {}
    for panel, names in PANELS.items():
        for name in names:
            ordered[name] = command.commands[name]
            ordered[name].rich_help_panel = panel
    command.commands = ordered
    return command


def main(arguments: list[str] | None = None) -> Any:
    """Run the command; an expected error is one paragraph and exit code 1."""
    from dagster_project.commands.errors import explained_errors

    # What is imported stays: looking through it for garbage takes a tenth of a short command.
    gc.set_threshold(*gc.get_threshold()[:2], _COLLECTIONS_BEFORE_A_FULL_ONE)
    with explained_errors():
        _complete_command()(arguments)


if __name__ == "__main__":
    main()

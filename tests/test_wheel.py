"""The wheel: what an installation has that is no clone."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.fakes import save_tiny_model

# Builds, installs and starts a program.
pytestmark = pytest.mark.slow

PACKAGES = ("assets", "dagster_project", "toolformer*", "tools", "warehouse")


def files_in_git(*patterns: str) -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", *patterns], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    return listed.stdout.splitlines()


def pip(*arguments: str | Path) -> None:
    command = [sys.executable, "-m", "pip", *map(str, arguments)]
    subprocess.run([*command, "--quiet", "--no-deps", "--no-index"], check=True)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, since setuptools writes beside what it builds from."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in files_in_git("pyproject.toml", "README.md", "LICENSE", *PACKAGES):
        copy = folder / "source" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes((REPOSITORY / name).read_bytes())
    pip("wheel", "--no-build-isolation", "--wheel-dir", folder, folder / "source")
    (built,) = folder.glob("*.whl")
    return built


def test_a_wheel_has_every_file_of_the_packages(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        assert set(files_in_git(*PACKAGES)) <= set(archive.namelist())


def test_an_installed_wheel_looks_at_a_model_outside_of_the_clone(wheel: Path, tmp_path: Path):
    site, home = tmp_path / "site", tmp_path / "home"
    model = save_tiny_model(tmp_path / "model")
    pip("install", "--target", site, wheel)
    done = subprocess.run(
        [sys.executable, site / "bin" / "toolformer", "doctor", "--model", model],
        env={**os.environ, "PYTHONPATH": str(site), "TOOLFORMER_HOME": str(home)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "text restored" in done.stdout, done.stdout + done.stderr

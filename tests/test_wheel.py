"""The wheel: what an installation has that is no clone."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

# Builds, installs and starts a program.
pytestmark = pytest.mark.slow

PACKAGES = ("assets", "dagster_project", "toolformer*", "tools", "warehouse")


def files_in_git(*patterns: str) -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", *patterns], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    return listed.stdout.splitlines()


def sources() -> list[str]:
    """Of what the project is built."""
    return files_in_git("pyproject.toml", "README.md", "LICENSE", *PACKAGES)


def pip(*arguments: str | Path) -> None:
    command = [sys.executable, "-m", "pip", *map(str, arguments)]
    subprocess.run([*command, "--quiet", "--no-deps", "--no-index"], check=True)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy, since setuptools writes beside what it builds from."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in sources():
        copy = folder / "source" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes((REPOSITORY / name).read_bytes())
    pip("wheel", "--no-build-isolation", "--wheel-dir", folder, folder / "source")
    (built,) = folder.glob("*.whl")
    return built


def test_a_wheel_has_every_file_of_the_packages(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        assert set(files_in_git(*PACKAGES)) <= set(archive.namelist())


@pytest.fixture(scope="module")
def site(wheel: Path) -> Path:
    """Where it is installed."""
    site = wheel.parent / "site"
    pip("install", "--target", site, wheel)
    return site


def toolformer(site: Path, home: Path, *arguments: str | Path) -> str:
    """What a command prints, outside of the clone."""
    done = subprocess.run(
        [sys.executable, site / "bin" / "toolformer", *arguments],
        env={**os.environ, "PYTHONPATH": str(site), "TOOLFORMER_HOME": str(home)},
        cwd=home.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.model
def test_an_installed_wheel_looks_at_the_embedded_model_outside_of_the_clone(
    site: Path, embedded_model_path: Path, tmp_path
):
    home = tmp_path / "home"
    home.mkdir()
    (home / "models").symlink_to(embedded_model_path.parent)
    # Else each precision is measured first.
    (home / "toolformer.yaml").write_text("language_model: {precision: float32}")
    assert "largest differences" in toolformer(site, home, "doctor", "--model", "embedded")


def test_an_installed_wheel_cuts_the_texts_of_the_demo_outside_of_the_clone(site: Path, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "toolformer.yaml").write_text("preset: demo")
    texts = site / "toolformer" / "starter_texts" / "starter_texts.jsonl"
    records = len(texts.read_text("utf-8").splitlines())
    assert f"Records read: {records}," in toolformer(site, home, "ingest", texts)
    planned = toolformer(site, home, "build", "--dry-run", "--tools", "Calculator")
    assert re.search(r"candidate_calls\W+Calculator\W+missing", planned)

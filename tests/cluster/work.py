"""What the cluster works on: twelve texts, a shard each, two tools; and the same on one machine."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.cluster.cluster import REPOSITORY, link_model, plain_environment
from tests.cluster.processes import ServiceError, start

SHARDS = tuple(f"shard-{number:05d}" for number in range(12))
# Of which two commands build the same.
CROSSED = SHARDS[:8]
_TOOLS = ("Calculator", "Calendar")


def settings() -> dict[str, Any]:
    """Few seconds for a shard; places and calls are proposed, so that most shards have some."""
    return {
        "preset": "demo",
        "corpus": {"sources": [{"path": "starter-texts", "limit": len(SHARDS), "shard_size": 1}]},
        "runs": {"shards_per_run": len(CROSSED)},
        # Rows are compared with those of one machine.
        "language_model": {"precision": "float32"},
        # A calibration would take as long as all the shards.
        "scoring": {"rescoring": False},
        "tools": {
            name: {"is_enabled": name in _TOOLS}
            for name in ("Calculator", "Calendar", "MT", "QA", "WikiSearch")
        },
    }


def write_settings(home: Path) -> None:
    """Write `toolformer.yaml`."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "toolformer.yaml").write_text(json.dumps(settings()))


def start_reference(home: Path, model: Path, log: Path) -> subprocess.Popen[bytes]:
    """Begin to build the shards in a plain home, on one machine."""
    write_settings(home)
    link_model(model, home)
    return start(
        command("cli", "build"),
        log=log,
        environment=plain_environment(home),
        folder=REPOSITORY,
    )


def command(module: str, *arguments: str) -> list[str]:
    """A command of the project, by the module that is run."""
    return [sys.executable, "-m", f"dagster_project.{module}", *arguments]


def finish(process: subprocess.Popen[bytes], name: str, *, seconds: float) -> None:
    """Wait for a command.

    Raises:
        ServiceError: it fails, or does not end.
    """
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired as error:
        raise ServiceError(f"{name} did not end within {seconds:.0f} s") from error
    if code:
        raise ServiceError(f"{name} ended with {code}")

"""What the cluster works on: eight texts, a shard each, two tools; and the same on one machine."""

import subprocess
from pathlib import Path
from typing import Any

from tests.cluster.cluster import link_model
from tests.conftest import REPOSITORY
from tests.homes import SmallHome, command, environment_of
from tests.processes import start

SHARDS = tuple(f"shard-{number:05d}" for number in range(8))
# Of which two commands build the same.
CROSSED = SHARDS[:5]
_TOOLS = ("Calculator", "Calendar")


def settings() -> dict[str, Any]:
    """Few seconds for a shard; places and calls are proposed, so that most shards have some."""
    return {
        "preset": "demo",
        "corpus": {
            "sources": [{"path": "starter-texts", "limit": len(SHARDS), "shard_size": 1}],
            "held_out_every": 0,
        },
        "runs": {"shards_per_run": len(CROSSED)},
        # Rows are compared with those of one machine.
        "language_model": {"precision": "float32"},
        # A calibration would take as long as all the shards.
        "scoring": {"rescoring": False},
        "tools": {
            name: {"is_enabled": name in _TOOLS}
            for name in ("Calculator", "Calendar", "MT", "QA", "WikiSearch", "Facts")
        },
    }


def write_settings(home: Path) -> None:
    """Write `toolformer.yaml`."""
    SmallHome(home).write_settings(settings())


def start_reference(home: Path, model: Path, log: Path) -> subprocess.Popen[bytes]:
    """Begin to build the shards in a plain home, on one machine."""
    write_settings(home)
    link_model(model, home)
    return start(
        command("cli", "build"), log=log, environment=environment_of(home), folder=REPOSITORY
    )

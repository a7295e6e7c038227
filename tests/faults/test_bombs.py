"""Every bomb is read in bounded memory and time, and said to be one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.bombs import BOMBS

# Seconds each, most of them for the imports of a process of its own.
pytestmark = pytest.mark.slow

# No record but the bomb.
WITHOUT_TEXTS = {"text_of_gigabytes", "xml_without_pages"}
MEGABYTES, SECONDS = 512, 180


@pytest.mark.parametrize("name", list(BOMBS))
def test_a_bomb_takes_neither_memory_nor_time(tmp_path: Path, name: str):
    bomb, reasons = BOMBS[name]
    file = bomb(tmp_path)
    command = [sys.executable, "-m", "tests.faults.read_bomb", str(file), str(tmp_path / "home")]
    # The limit of the process is of addresses, of which each arena of the allocator takes many.
    environment = {**os.environ, "MALLOC_ARENA_MAX": "2", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=SECONDS, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    read = json.loads(done.stdout)
    assert read["megabytes"] < MEGABYTES
    if name == "xml_without_pages":
        assert "the XML has no page" in read["errors"][0]
    else:
        assert read["reasons"] == reasons
        assert (read["texts"] == 0) == (name in WITHOUT_TEXTS)

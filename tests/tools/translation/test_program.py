"""Programs that misbehave, played by small scripts."""

import sys
import time
from pathlib import Path

import pytest

from tools.errors import TranslationFailedError
from tools.translation.apertium import Finished, run_program

LIMITS = {"timeout_seconds": 20.0, "max_bytes": 10_000_000}


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def is_running(process_id: int) -> bool:
    # One that ended and was not waited for is still listed.
    status = Path(f"/proc/{process_id}/stat")
    return status.exists() and " Z " not in status.read_text()


def test_a_program_that_hangs_is_ended_with_all_that_it_started(tmp_path):
    numbers = tmp_path / "numbers"
    # As a shell script with a pipeline: ending the shell alone would leave the others.
    script = f"sleep 60 & echo $! $$ > {numbers}; sleep 60 | cat"
    with pytest.raises(TimeoutError, match=r"did not end within 0\.5 s"):
        run_program(["/bin/sh", "-c", script], timeout_seconds=0.5, max_bytes=1000)
    give_up = time.monotonic() + 5
    while any(is_running(int(number)) for number in numbers.read_text().split()):
        assert time.monotonic() < give_up
        time.sleep(0.02)


def test_a_program_gives_its_status_and_both_outputs_and_need_not_read():
    text = b"x" * 3_000_000
    code = "import sys; print(sys.stdin.read()); print('hm', file=sys.stderr); sys.exit(3)"
    assert run_program(python(code), text, **LIMITS) == Finished(3, text + b"\n", b"hm\n")
    assert run_program(python("print(1)"), text, **LIMITS).output == b"1\n"


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("while True: sys.stdout.write('x' * 65536)", TranslationFailedError),
        ("while True: sys.stderr.write('x' * 65536)", TranslationFailedError),
        ("os.close(1); os.close(2); time.sleep(60)", TimeoutError),
    ],
)
def test_a_program_that_writes_without_end_or_closes_its_outputs_is_ended(code, error):
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(error):
        run_program(python(f"import os, sys, time\n{code}"), timeout_seconds=2.0, max_bytes=10**6)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before

"""Commands that tests run in their own process, and what came of them."""

from typing import NamedTuple

import pytest

from dagster_project.cli import main


class Outcome(NamedTuple):
    """What one command did."""

    code: int
    out: str
    err: str

    def is_one_paragraph_naming(self, *parts: str) -> bool:
        """Exit code 1 and one paragraph that names these; shows what it is where it is not."""
        assert self.code == 1, (self.code, self.out, self.err)
        assert self.err.startswith("Error: "), self.err
        assert "\nError: " not in self.err, self.err
        assert "\n\n" not in self.err.strip(), self.err
        assert "Traceback" not in self.err + self.out
        assert 'File "' not in self.err
        for part in parts:
            assert part in self.err, (part, self.err)
        return True


def run_command(capsys: pytest.CaptureFixture[str], *arguments: object) -> Outcome:
    """Run `toolformer` with these arguments."""
    with pytest.raises(SystemExit) as exited:
        main([str(argument) for argument in arguments])
    code = exited.value.code
    return Outcome(code if isinstance(code, int) else int(bool(code)), *capsys.readouterr())

"""The files that are made from the code are what the code says."""

from pathlib import Path

import pytest

from tests.generated import FILES


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_generated_file_is_what_the_code_says(path: Path):
    assert path.read_text("utf-8") == FILES[path](), "`make docs` writes it anew"

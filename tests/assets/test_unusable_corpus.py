"""A corpus without a text."""

from pathlib import Path
from typing import Any

import pytest

from tests.assets.conftest import PipelineHome
from toolformer.errors import ToolformerError

pytestmark = pytest.mark.slow


def test_a_build_fails_where_no_record_is_usable_and_names_the_reasons(
    tmp_path: Path, pipeline_settings: dict[str, Any]
):
    file = tmp_path / "texts.jsonl"
    file.write_text('{"text": ""}\n{"body": "A text under another name."}\n')
    home = PipelineHome(tmp_path / "home")
    corpus = {**pipeline_settings["corpus"], "sources": [{"path": str(file)}]}
    home.write_settings({**pipeline_settings, "corpus": corpus})
    # The second time nothing is left to do.
    for _ in range(2):
        with pytest.raises(ToolformerError, match="of 2, empty_text 1, missing_text 1"):
            home.build(tools=["Calculator"])

from dataclasses import replace

import pytest

from tests.tools.test_question_answering import ASKING, outcomes
from tests.tools.test_wikipedia_search import write_lucene_index
from tools.retrieval.passages import Passage
from tools.retrieval.wikipedia_index import build_index
from tools.wikipedia_search import WikiSearch

GERMAN = [
    {"id": "1", "contents": "Stadt\nEine Stadt hat Straßen."},
    {"id": "2", "contents": "Häuser\nSie stehen in einer Stadt."},
]


@pytest.mark.java
def test_an_index_is_searched_in_the_language_that_is_named(tmp_path):
    folder = write_lucene_index(tmp_path / "i", "-storeRaw", "-language", "de", documents=GERMAN)
    tool = WikiSearch(folder)
    assert outcomes(tool, ("Haus", ASKING), ("Häuser", ASKING)) == ["no_result"] * 2
    german = WikiSearch(folder, language="de")
    assert german.call("Haus", ASKING) == "Häuser > Sie stehen in einer Stadt."
    assert german.version == tool.version.replace(" index=", " language=de index=")
    documents = [{"id": "2", "contents": "上海是一个城市。"}]
    folder = write_lucene_index(
        tmp_path / "z", "-storeContents", "-language", "zh", documents=documents
    )
    assert outcomes(WikiSearch(folder, language="zh"), ("上海", ASKING)) == ["上海是一个城市。"]


@pytest.mark.java
def test_an_index_of_this_program_says_its_language(tmp_path):
    houses = Passage("0", "Häuser", "", "Sie stehen in einer Stadt.", "")
    build_index([houses], tmp_path / "index", fingerprint="f", language="de")
    tool = WikiSearch(tmp_path / "index")
    assert tool.call("Haus", ASKING) == "Häuser > Sie stehen in einer Stadt."
    assert tool.version.endswith("language=de index=f)")
    english = [replace(houses, title="The"), replace(houses, passage_id="1", title="Running 😀")]
    build_index(english, tmp_path / "index", fingerprint="g")
    assert tool.call("runs", ASKING).startswith("Running 😀 > ")
    assert tool.version.endswith("temperature=1 index=g)")

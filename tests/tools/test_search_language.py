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
NOT_FOUND = "does not find the passage '2' by its own words 'Häuser', searched as language 'en'"


@pytest.mark.java
def test_an_index_of_another_language_is_searched_in_it_or_told(tmp_path, caplog):
    folder = write_lucene_index(tmp_path / "i", "-storeRaw", "-language", "de", documents=GERMAN)
    tool = WikiSearch(folder)
    assert outcomes(tool, ("Haus", ASKING), ("Häuser", ASKING)) == ["no_result"] * 2
    (told,) = caplog.records
    assert NOT_FOUND in told.message
    assert "tools.WikiSearch.options.language" in told.message
    caplog.clear()
    german = WikiSearch(folder, language="de")
    assert german.call("Haus", ASKING) == "Häuser > Sie stehen in einer Stadt."
    assert german.version == tool.version.replace(" index=", " language=de index=")
    assert caplog.records == []


@pytest.mark.java
def test_an_index_without_titles_of_another_language_is_told_by_first_words(tmp_path, caplog):
    documents = [{"id": "2", "contents": "上海是一个城市。"}]
    folder = write_lucene_index(
        tmp_path / "i", "-storeContents", "-language", "zh", documents=documents
    )
    assert outcomes(WikiSearch(folder), ("上海", ASKING)) == ["no_result"]
    assert "its own words '上海是一个城市。'" in caplog.text
    assert outcomes(WikiSearch(folder, language="zh"), ("上海", ASKING)) == ["上海是一个城市。"]


@pytest.mark.java
def test_an_index_of_this_program_says_its_language(tmp_path, caplog):
    houses = Passage("0", "Häuser", "", "Sie stehen in einer Stadt.", "")
    build_index([houses], tmp_path / "index", fingerprint="f", language="de")
    tool = WikiSearch(tmp_path / "index")
    assert tool.call("Haus", ASKING) == "Häuser > Sie stehen in einer Stadt."
    assert tool.version.endswith("language=de index=f)")
    # Nor does a title that no text is searched for mean another language.
    english = [replace(houses, title="The"), replace(houses, passage_id="1", title="Running 😀")]
    build_index(english, tmp_path / "index", fingerprint="g")
    assert tool.call("runs", ASKING).startswith("Running 😀 > ")
    assert tool.version.endswith("temperature=1 index=g)")
    assert caplog.records == []

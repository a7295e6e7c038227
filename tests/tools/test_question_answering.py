"""The tool QA: three steps, none of which looks at another request."""

import pytest

from tools.errors import ToolCallError, ToolSettingsError, ToolUnavailableError
from tools.protocol import Document
from tools.question_answering import QA
from tools.retrieval.passages import Passage, RankedPassage
from tools.retrieval.retrieval_tool import Answer
from tools.running.deadlines import Limits
from tools.running.execution import execute_calls
from tools.running.result_cache import ResultCache

CANAL = Passage(
    "Suez#0", "Suez Canal", "History", "The canal opened in 1869.", "https://w.org/Suez"
)
OTTER = Passage("Otter#0", "Otter", "", "Otters swim in a river and eat fish all day long.", "")
RIVER = Passage("River#0", "River", "", "A river flows to the sea.", "")
ASKING = Document("d", "A text about nothing in particular.")


class FixedRetriever:
    """Ranks the same passages for every question but one."""

    def __init__(self, *passages: Passage):
        self.passages = passages
        self.queries: list[str] = []
        self.depths: list[int] = []

    def version(self) -> str:
        return "fixed"

    def check_available(self) -> None:
        pass

    def rank(self, queries, depth):
        self.queries += queries
        self.depths.append(depth)
        found = [RankedPassage(passage, 0.0) for passage in self.passages]
        return [[] if query == "no words" else found[:depth] for query in queries]


class FirstWordReader:
    """Answers with the first word of the first passage."""

    def __init__(self, probability: float = 0.5):
        self.probability = probability
        self.is_prepared = False
        self.requests: list[tuple[str, list[str]]] = []

    def version(self) -> str:
        return "first word"

    def prepare(self) -> None:
        self.is_prepared = True

    def read(self, requests):
        self.requests += [(q, [p.passage.passage_id for p in passages]) for q, passages in requests]
        words = [passages[0].passage.text.split()[0] for _, passages in requests]
        return [Answer(word, self.probability) for word in words]


def qa(*passages: Passage, probability: float = 0.5, **settings) -> QA:
    return QA(FixedRetriever(*passages), FirstWordReader(probability), **settings)


def outcomes(tool, *requests):
    results = execute_calls(tool, requests, limits=Limits(60))
    return [result.result or result.reason for result in results]


def test_the_texts_own_passages_are_passed_over_before_reading():
    for document in (
        Document("d", "x", url="http://w.org/Suez/"),
        Document("d", "x", title="Suez canal"),
        Document("d", "As we know, the canal opened in 1869."),
    ):
        tool = qa(CANAL, OTTER, passages=1)
        assert tool.call("When did it open?", document) == "Otters"
        assert tool.reader.requests == [("When did it open?", ["Otter#0"])]
        # Without a foreign passage there is nothing to read.
        tool = qa(CANAL)
        assert outcomes(tool, ("When?", document), ("no words", ASKING)) == ["no_result"] * 2
        assert tool.reader.requests == []


def test_the_reader_is_prepared_before_it_reads_and_not_where_answers_are_kept(tmp_path):
    cache, reader = ResultCache(tmp_path), FirstWordReader()
    for is_first in (True, False):
        reader.is_prepared = False
        tool = QA(FixedRetriever(CANAL), reader)
        (result,) = execute_calls(tool, [("When?", ASKING)], limits=Limits(5), cache=cache)
        assert result.result == "The"
        assert reader.is_prepared == is_first


def test_an_improbable_answer_is_not_given():
    assert qa(CANAL, probability=0.2, min_probability=0.2).call("When?", ASKING) == "The"
    with pytest.raises(ToolCallError) as caught:
        qa(CANAL, probability=0.19, min_probability=0.2).call("When?", ASKING)
    assert caught.value.reason == "unsure"


def test_equal_questions_are_looked_up_once_and_each_text_gets_its_own_passages():
    tool = qa(CANAL, OTTER, RIVER, passages=2)
    own = Document("own", "", title="Suez Canal")
    answers = outcomes(tool, ("When?", ASKING), ("When?", own), ("Who?", ASKING))
    assert answers == ["The", "Otters", "The"]
    assert tool.retriever.queries == ["When?", "Who?"]
    assert ("When?", ["Suez#0", "Otter#0"]) in tool.reader.requests
    assert ("When?", ["Otter#0", "River#0"]) in tool.reader.requests


def test_a_missing_index_makes_this_tool_unavailable_and_not_another():
    class Missing(FixedRetriever):
        def check_available(self):
            raise ToolUnavailableError("WikiSearch", "there is no index", "Build it")

    with pytest.raises(ToolUnavailableError, match="The tool QA is unavailable: there is no index"):
        QA(Missing(), FirstWordReader()).check_available()


def test_the_version_names_settings_retriever_and_reader():
    version = qa(CANAL).version
    assert "fixed" in version
    assert "first word" in version
    assert qa(CANAL, passages=1).version != version
    with pytest.raises(ToolSettingsError, match="depth"):
        qa(CANAL, depth=3, passages=4)

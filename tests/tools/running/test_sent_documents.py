"""The process of a tool keeps the document that was sent last."""

from contextlib import closing

from tests.tools.running.test_isolation import DOCUMENT, LIMITS, WILD_TOOLS, answers
from tools.protocol import Document
from tools.running.isolation import IsolatedTool
from tools.running.worker_pool import WorkerPool

OTHER = Document("o", "another text")


def test_a_document_is_sent_again_only_after_another_one_or_to_a_new_process(outside, monkeypatch):
    sent, ask = [], WorkerPool.ask

    def recorded(pool, function, *values, seconds):
        sent.extend(each for each in values[2] if isinstance(each, Document))
        return ask(pool, function, *values, seconds=seconds)

    monkeypatch.setattr(WorkerPool, "ask", recorded)
    outside.module("wild_tools", WILD_TOOLS.read_text())
    with closing(IsolatedTool("Wild", "wild_tools:Wild", {}, **LIMITS)) as tool:
        assert tool.cache_key(DOCUMENT) == ("d",)
        assert answers(tool, "1", "refuse", "2") == ["1!a text", "refused", "2!a text"]
        assert sent == [DOCUMENT]
        found = [tool.call("x", each) for each in (OTHER, OTHER, DOCUMENT)]
        assert found == ["x!another text", "x!another text", "x!a text"]
        assert sent == [DOCUMENT, OTHER, DOCUMENT]
        assert answers(tool, "exit", "1", "2") == ["process_ended", "1!a text", "2!a text"]
        assert sent == [DOCUMENT, OTHER, DOCUMENT, DOCUMENT]

"""Documents of a shard and their windows."""

from types import SimpleNamespace
from typing import Any

from assets.dataset.sampling import texts_and_windows
from assets.shard_texts import count_truncated, texts_in, windows_of
from tests.fakes import tiny_model
from tests.warehouse.rows import SHARD, new_warehouse, put
from toolformer.settings.sections import validated
from tools.protocol import Document
from warehouse.warehouse import Warehouse

DOCUMENTS = {
    "long": Document("long", "1234567890" * 100),
    "short": Document("short", "one two"),
    "empty": Document("empty", ""),
}


def test_a_long_text_has_no_more_windows_than_asked_for_and_is_counted():
    tokenizer = tiny_model().tokenizer
    every = list(windows_of(DOCUMENTS, tokenizer, window_tokens=16))
    assert "".join(each.text for each in every if each.document_id == "long") == "1234567890" * 100
    assert count_truncated(DOCUMENTS, every) == 0

    first = list(windows_of(DOCUMENTS, tokenizer, window_tokens=16, max_windows=3))
    of_long = [each for each in first if each.document_id == "long"]
    assert of_long == [each for each in every if each.document_id == "long"][:3]
    assert [each.text for each in first if each.document_id == "short"] == ["one two"]
    assert count_truncated(DOCUMENTS, first) == 1


def test_documents_and_their_contexts_take_one_read(tmp_path, monkeypatch):
    warehouse, reads = new_warehouse(tmp_path), []
    texts = [{"document_id": "a", "text": "one", "title": "A"}]
    texts.append({"document_id": "b", "text": "two", "context": "It is asked:"})
    put(warehouse, "documents", *texts)
    read = Warehouse.read_partition
    monkeypatch.setattr(
        Warehouse, "read_partition", lambda *given: reads.append(given[1]) or read(*given)
    )
    documents, contexts = texts_in(warehouse, SHARD)
    assert [document.text for document in documents.values()] == ["one", "two"]
    assert documents["a"].title == "A"
    assert contexts == {("b", 0): "It is asked:"}
    assert reads == ["documents"]


def test_a_text_is_cut_once_for_all_tools_of_a_shard(tmp_path):
    warehouse, tokenizer = new_warehouse(tmp_path), tiny_model().tokenizer
    put(warehouse, "documents", {"document_id": "a", "text": "one two three four"})
    settings = validated({"corpus": {"window_tokens": 8, "max_windows_per_text": 2}}, origin="test")
    run: Any = SimpleNamespace(warehouse=warehouse, settings=settings)
    texts, cut_text = texts_and_windows(run, SHARD)
    windows = cut_text("a", tokenizer)
    assert list(windows) == list(windows_of(texts, tokenizer, window_tokens=8, max_windows=2))
    assert cut_text("a", tokenizer) is windows

"""Windows of the documents of a shard."""

from assets.shard_texts import cut_off, windows_of
from tests.fakes import tiny_model
from tools.protocol import Document

DOCUMENTS = {
    "long": Document("long", "1234567890" * 100),
    "short": Document("short", "one two"),
    "empty": Document("empty", ""),
}


def test_a_long_text_has_no_more_windows_than_asked_for_and_is_counted():
    tokenizer = tiny_model().tokenizer
    every = list(windows_of(DOCUMENTS, tokenizer, window_tokens=16))
    assert "".join(each.text for each in every if each.document_id == "long") == "1234567890" * 100
    assert cut_off(DOCUMENTS, every) == 0

    first = list(windows_of(DOCUMENTS, tokenizer, window_tokens=16, max_windows=3))
    of_long = [each for each in first if each.document_id == "long"]
    assert of_long == [each for each in every if each.document_id == "long"][:3]
    assert [each.text for each in first if each.document_id == "short"] == ["one two"]
    assert cut_off(DOCUMENTS, first) == 1

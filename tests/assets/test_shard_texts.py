"""Windows of the documents of a shard."""

from assets.shard_texts import cut_off, damaged_spans_in, documents_in, windows_of
from tests.corpora import cut_corpus
from tests.fakes import tiny_model
from tests.homes import SmallHome
from tests.toolformer.sources.conftest import DUMP_HEAD, page_xml
from toolformer.sources.source import Source
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


def test_damaged_sentences_are_stored_with_their_document(tmp_path):
    home = SmallHome(tmp_path)
    words = "word " * 40
    page = page_xml("A", f"{words}end. It has {{{{pop|5}}}} people.\n== B ==\n{words}")
    dump = tmp_path / "wiki.xml"
    dump.write_text(f"{DUMP_HEAD}{page}</mediawiki>")
    (entry,) = cut_corpus(home.home, [Source(str(dump), shard_size=5)]).added
    warehouse = home.warehouse
    texts = documents_in(warehouse, entry.key)
    ((document_id, ((start, stop),)),) = damaged_spans_in(warehouse, entry.key).items()
    assert len(texts) == 2
    assert texts[document_id].text[start:stop] == " It has people."

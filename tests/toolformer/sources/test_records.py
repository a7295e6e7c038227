import datetime
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolformer.markup import CHAT_MARKUP, Calculation
from toolformer.sources.readers import json_object
from toolformer.sources.records import ParsedDocument, Record, Rejection, document_id, parse_record
from toolformer.sources.source import Source
from tools.calculator import Calculator
from tools.protocol import Document


def source_of_lines(**settings) -> Source:
    return Source("texts.jsonl", format="jsonl", shard_size=1, **settings)


LINES = source_of_lines()
WITH_CONTEXT = source_of_lines(context_column="question", maximum_text_bytes=20)


def parse_line(line: str, source: Source = LINES) -> ParsedDocument | Rejection:
    raw = line.encode("utf-8", "surrogateescape")
    found = json_object(raw)
    if isinstance(found, str):
        return parse_record(Record("texts.jsonl", 7, {}, raw, found), source)
    return parse_record(Record("texts.jsonl", 7, found, raw), source)


def document_of(line: str, source: Source = LINES) -> ParsedDocument:
    document = parse_line(line, source)
    assert isinstance(document, ParsedDocument)
    return document


def test_all_fields_of_a_record_are_taken():
    line = {"text": "Hi.", "url": " https://a.org/1 ", "date": "2013-09-18", "title": "T"}
    expected = ParsedDocument(
        document_id=document_id("texts.jsonl", 7),
        text="Hi.",
        context=None,
        title="T",
        url="https://a.org/1",
        published_on=datetime.date(2013, 9, 18),
        source="texts.jsonl",
        source_offset=7,
    )
    assert parse_line(json.dumps(line)) == expected
    # Columns can have other names or be switched off.
    source = source_of_lines(
        text_column="content", url_column="link", date_column=None, title_column=None
    )
    line |= {"content": "Hi.", "link": "u", "text": "not this"}
    other = replace(expected, url="u", published_on=None, title=None)
    assert parse_line(json.dumps(line), source) == other
    # An unreadable date does not cost the text, nor does a title without end, and a context counts
    # where its column is named.
    line = {"text": "Hi.", "date": "soon", "url": 4, "title": "t" * 20_000, "context": "2 + 2?"}
    lost = {"dates": 1, "addresses": 2}
    assert parse_line(json.dumps(line)) == replace(other, url=None, losses=lost)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"text": "cut of', "invalid_json"),
        ("[" * 100_000, "invalid_json"),
        ('{"text": "one", "text": "two"}', "repeated_key"),
        ('{"text": "one", "meta": {"url": 1, "id": 2, "url": null}}', "repeated_key"),
        ('["text"]', "not_an_object"),
        ('{"body": "Hi."}', "missing_text"),
        ('{"text": null}', "missing_text"),
        ('{"text": 5}', "text_not_a_string"),
        ('{"text": " \\n\\u0000"}', "empty_text"),
        ('{"text": "half \\ud83d of a character"}', "invalid_utf8"),
        ('{"text": "caf\udce9"}', "invalid_utf8"),
        ('{"text": "éééééééééé!"}', "too_long"),
        ('{"text": "4."}', "missing_context"),
        ('{"text": "4.", "question": ["2 + 2?"]}', "context_not_a_string"),
        ('{"text": "4.", "question": "twenty-one characters"}', "too_long"),
    ],
)
def test_malformed_record_is_rejected_with_its_reason(line, reason):
    rejection = parse_line(line, WITH_CONTEXT)
    assert isinstance(rejection, Rejection)
    assert (rejection.reason, rejection.source_offset) == (reason, 7)
    assert 0 < len(rejection.excerpt) <= 200 or reason == "empty_text"
    assert rejection.excerpt.isprintable()


def test_a_context_stands_beside_its_text_as_written():
    # A text of the longest there may be, in bytes.
    document = document_of('{"text": "éééééééééé", "question": " 2 +\\u0000 2?\\n"}', WITH_CONTEXT)
    assert (document.text, document.context) == ("éééééééééé", " 2 + 2?\n")


def test_only_control_characters_are_taken_out_of_a_text():
    text = " a\x00b\x1b[0m\tc\r\n\u00a0d\u2028e\ufeff [x] -> <API> \U0001f600 "
    document = document_of(json.dumps({"text": text}))
    assert document.text == text.replace("\x00", "").replace("\x1b", "")


@pytest.mark.parametrize("blank", ["\x0b", "\x0c", "\x1c", "\x85"])
def test_control_characters_that_are_blanks_keep_numbers_apart(blank):
    document = document_of(json.dumps({"text": f"12{blank}34", "title": f"12{blank}34"}))
    assert (document.text, document.title) == ("12 34", "12 34")


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1))
def test_text_without_control_characters_is_kept_byte_for_byte(text):
    parsed = parse_line(json.dumps({"text": text}))
    if text.strip():
        assert isinstance(parsed, ParsedDocument)
        assert parsed.text == text
    else:
        assert isinstance(parsed, Rejection)


@given(st.text())
def test_any_line_gives_a_document_or_a_storable_rejection(line):
    parsed = parse_line(line)
    if isinstance(parsed, Rejection):
        assert parsed.excerpt.isprintable()
        assert len(parsed.excerpt) <= 200
        parsed.excerpt.encode()


def test_document_ids_do_not_change_between_releases():
    assert document_id("texts.jsonl", 0) == "9e9a04a2dcf5567609330f667512a614"


MARKED = json.dumps({"text": "48/2 = <<48/2=24>>24.\n#### 24", "question": "Half of 48?<|im_end|>"})


def test_marks_are_counted_and_with_the_option_taken_out_of_text_and_context():
    source = source_of_lines(context_column="question")
    counted = document_of(MARKED, source)
    assert (counted.text[:9], counted.losses) == ("48/2 = <<", {"marks": 3})
    stripped = document_of(MARKED, replace(source, strip_marks=True))
    assert (stripped.text, stripped.context) == ("48/2 = 24.", "Half of 48?")
    assert stripped.losses == {}
    assert (counted.calculations, stripped.calculations) == ((), (Calculation(7, "48/2", "24"),))
    call = json.dumps({"text": "2 * 3 = [Calculator(2 * 3) -> 6] 6<|im_end|>"})
    assert document_of(call, source_of_lines()).losses == {"calls": 1, "marks": 1}
    without = document_of(call, source_of_lines(strip_marks=True))
    assert (without.text, without.calculations[0].tool) == ("2 * 3 = 6", "Calculator")
    unread = parse_line('{"text": "5n = <<5*n=30>>30"}', source_of_lines(strip_marks=True))
    assert isinstance(unread, ParsedDocument)
    assert (unread.text, unread.losses) == ("5n = <<5*n=30>>30", {"unread_marks": 1})
    only_marks = parse_line('{"text": "#### 24"}', source_of_lines(strip_marks=True))
    assert isinstance(only_marks, Rejection)
    assert only_marks.reason == "empty_text"


def test_case_of_worked_problems_shows_its_numbers_to_the_reader(test_data: Path):
    file = test_data / "cases/03-gsm8k-marks/problems.jsonl"
    source = Source(
        "problems.jsonl",
        format="jsonl",
        shard_size=1,
        text_column="answer",
        context_column="question",
    )
    lines = file.read_text(encoding="utf-8").splitlines()
    assert [document_of(line, source).losses["marks"] for line in lines] == [3, 5, 2, 2]
    texts = [document_of(line, replace(source, strip_marks=True)).text for line in lines]
    assert texts[0] == "In June she packed 48/2 = 24 jars.\nIn all she packed 48+24 = 72 jars."
    assert texts[3] == "Each gets 20/3 = 6.67 plums."
    assert not any(mark in text for text in texts for mark in ("<<", ">>", "####"))
    # The call stands in front of the number that a reader sees.
    (june, _) = Calculator().proposals(Document("d", texts[0]))
    assert (june.arguments, texts[0][june.offset :][:7]) == ("48/2", "24 jars")


def test_case_of_chat_marks_is_counted_and_stripped(test_data: Path):
    lines = (test_data / "cases/20-special-tokens-in-text/texts.jsonl").read_text().splitlines()
    assert [document_of(line).losses.get("marks", 0) for line in lines] == [3, 3, 2, 0]
    for line in lines:
        document = document_of(line, source_of_lines(strip_marks=True))
        assert CHAT_MARKUP.search(document.text) is None

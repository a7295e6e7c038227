import datetime
import gzip
import os

import pytest

from tests.toolformer.sources.conftest import documents, outcomes, parsed
from toolformer.sources.errors import SourceError
from toolformer.sources.records import Rejection

URL = "https://example.org/2024/05/03/mill"
DATE = "2024-05-04T10:11:12Z"


def record(
    kind: str | None, content: bytes, content_type: str = "text/plain", **headers: object
) -> bytes:
    fields = {
        "WARC-Type": kind,
        "WARC-Target-URI": URL,
        "WARC-Date": DATE,
        "Content-Type": content_type,
        "Content-Length": len(content),
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value is not None)
    return f"WARC/1.0\r\n{head}\r\n".encode() + content + b"\r\n\r\n"


def response(content: bytes, *headers: str, status: str = "200 OK") -> bytes:
    head = "".join(f"{header}\r\n" for header in headers)
    answer = f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + content
    return record("response", answer, "application/http; msgtype=response")


PLAIN, HTML = "Content-Type: text/plain", "Content-Type: text/html; charset=UTF-8"
CHUNKED = "Transfer-Encoding: chunked"
INFO = record("warcinfo", b"software: a crawler\r\n", "application/warc-fields")
FIRST, SECOND = (record("conversion", f"Été {n}.\n".encode()) for n in range(2))


@pytest.mark.parametrize("name", ["a.wet", "a.warc", "CC-MAIN-1.warc.wet.gz", "a.warc.gz"])
def test_texts_of_a_wet_file_have_address_and_day(written, name):
    members = [INFO, FIRST, SECOND]
    content = b"".join(map(gzip.compress, members) if name.endswith(".gz") else members)
    first, second = documents(written(name, content))
    day = datetime.date(2024, 5, 4)
    assert (first.text, first.url, first.published_on, first.title) == ("Été 0.\n", URL, day, None)
    # What describes the crawl is counted among the records and is none itself.
    assert (first.source_offset, second.source_offset) == (1, 2)


# The same for every worker: parameters are part of a test's name.
PACKED = gzip.compress(b"A text.", mtime=0)
RECORDS = [
    (record("request", b"GET / HTTP/1.1\r\n\r\n", "application/http; msgtype=request"), None),
    (response(b"A text.", PLAIN), "A text."),
    (response("Été.".encode("latin-1"), f"{PLAIN}; charset=ISO-8859-1"), "Été."),
    (response(b"5\r\nA tex\r\n2\r\nt.\r\n0\r\n\r\n", PLAIN, CHUNKED), "A text."),
    (response(b"<p>A text.</p>", HTML), "html_not_extracted"),
    (response(b"Not here.", PLAIN, status="404 Not Found"), "http_error"),
    (response(PACKED, PLAIN, "Content-Encoding: gzip"), "encoded_response"),
    (response(b"\x89PNG", "Content-Type: image/png"), "not_text"),
    (response(b"A text."), "not_text"),
    (record("response", b""), "not_text"),
    (record("resource", b"A file.", "text/plain; charset=none"), "A file."),
    (record("response", b"1.2.3.4", "text/dns", WARC_Target_URI="dns:example.org"), "not_text"),
    (record("conversion", b"caf\xe9"), "invalid_utf8"),
    (record("conversion", b" \n"), "empty_text"),
    (record("revisit", b"HTTP/1.1 200 OK\r\n\r\n"), None),
    (record("Conversion", b"Cased."), "Cased."),
    # Of a text in segments the rest.
    (record("continuation", b"and more."), "not_text"),
    (record("x-extract", b"A text."), "not_text"),
    (record(None, b"A text."), "not_text"),
]


def test_of_the_answers_of_servers_plain_text_is_read_and_others_say_why_not(written):
    source = written("a.warc", b"".join(content for content, _ in RECORDS))
    assert outcomes(source) == [outcome for _, outcome in RECORDS if outcome]
    rejections = [each for each in parsed(source) if isinstance(each, Rejection)]
    assert (rejections[0].source_offset, rejections[0].excerpt) == (4, URL)


def test_long_texts_are_rejected_and_reading_goes_on(written):
    # The last is far longer than what is kept of a record.
    content = b"".join(record("conversion", b"a" * size) for size in (700_000, 10, 3_000_000))
    source = written("a.warc", content + FIRST, maximum_text_bytes=9)
    assert outcomes(source) == [*["too_long"] * 3, "Été 0.\n"]
    longer = record("conversion", b"a" * 3_000_000, Content_Length=2_999_990)
    source = written("b.warc", longer + FIRST, maximum_text_bytes=9)
    assert outcomes(source) == ["too_long", "damaged_source", "Été 0.\n"]
    assert parsed(source)[1].losses == {"damaged_bytes": 14}


def test_an_archive_that_stops_where_the_next_record_is_looked_for_keeps_those_before(written):
    damaged = record("conversion", os.urandom(500).hex().encode()).replace(b"WARC/", b"VARC/")
    packed = gzip.compress(record("conversion", b"One.") + record("conversion", b"Two.") + damaged)
    found = outcomes(written("a.warc.gz", packed[:-100]))
    assert found == ["One.", "Two.", "truncated_source"]


@pytest.mark.parametrize(
    ("cut", "reason"), [(1, "truncated_source"), (9, "truncated_source"), (60, "damaged_source")]
)
def test_an_archive_that_stops_in_the_middle_gives_what_comes_before(written, cut, reason):
    # Without the blank lines behind it a record is complete.
    whole = (FIRST + SECOND).removesuffix(b"\r\n\r\n")
    assert outcomes(written("a.warc", whole[:-cut])) == ["Été 0.\n", reason]
    assert outcomes(written("a.warc", whole)) == ["Été 0.\n", "Été 1.\n"]


@pytest.mark.parametrize(
    "damage",
    [
        b"no record\r\n",
        record("conversion", b"a", Content_Length=None),
        record("conversion", b"abc", Content_Length="x"),
        record("response", b"HTTP/1.1 200 OK\r\n\r\na", Content_Length="9" * 400),
        b"WARC/1.0\r\nWARC-Type: " + b"a" * 1_100_000,
    ],
)
def test_after_what_is_no_record_reading_goes_on_at_the_next(written, damage, capsys):
    first, *others, last = outcomes(written("a.warc", FIRST + damage + b"\r\n" + SECOND))
    assert (first, last) == ("Été 0.\n", "Été 1.\n")
    assert "damaged_source" in others
    assert capsys.readouterr() == ("", "")


def test_a_file_that_is_no_archive_is_refused(written):
    for content in (b"no archive", gzip.compress(FIRST)):
        with pytest.raises(SourceError, match="follows no WARC record"):
            parsed(written("a.warc", content))
    with pytest.raises(SourceError, match="is empty"):
        parsed(written("a.warc", INFO))

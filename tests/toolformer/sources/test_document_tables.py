"""Identities of documents do not move.

`document_tables.jsonl` has a line per source: how it is read, the number of its documents and
rejected records, and a digest of its table (document id, digest of the text, date, address). If one
of them changes, every user's documents get other ids.
"""

import hashlib
import json
from pathlib import Path

import pytest

from tests.toolformer.sources.conftest import parsed
from toolformer.settings.corpus_sections import BUILT_IN_SOURCES
from toolformer.sources.records import ParsedDocument
from toolformer.sources.source import Source

_FIXTURE = Path(__file__).with_name("document_tables.jsonl")
SOURCES = [json.loads(line) for line in _FIXTURE.read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("expected", SOURCES, ids=lambda each: each["path"])
def test_ids_texts_dates_and_addresses_are_as_before(expected, request, monkeypatch):
    if expected["path"] not in BUILT_IN_SOURCES:
        monkeypatch.chdir(request.getfixturevalue("test_data"))
    found = {"documents": 0, "rejected": 0}
    reading = {name: value for name, value in expected.items() if name not in (*found, "digest")}
    digest = hashlib.sha256()
    for item in parsed(Source(**reading, shard_size=1000)):
        if isinstance(item, ParsedDocument):
            found["documents"] += 1
            day = item.published_on and item.published_on.isoformat()
            text = hashlib.sha256(item.text.encode()).hexdigest()
            row = [item.document_id, text, day, item.url]
        else:
            found["rejected"] += 1
            row = [item.source_offset, item.reason]
        digest.update(json.dumps(row).encode() + b"\n")
    assert reading | found | {"digest": digest.hexdigest()[:32]} == expected

"""What a record holds and no document shows is counted."""

from collections import Counter
from pathlib import Path
from typing import get_args

import pytest

from tests.toolformer.sources.conftest import documents
from toolformer.sources.cutting import Loss, cut_source
from toolformer.sources.files import list_files
from toolformer.sources.losses import LossKind, losses_in_words
from toolformer.sources.source import Source


def losses_of(source: Source, folder: Path) -> Counter[tuple[str, str]]:
    folder.mkdir(exist_ok=True)
    counts = Counter[tuple[str, str]]()
    for shard in cut_source(folder, source, list_files(source), lambda _name, _records: None):
        for loss, count in shard.losses.items():
            counts[loss.kind, loss.name] += count
    return counts


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ({"date": "soon"}, "dates"),
        ({"date": 2013}, "dates"),
        ({"date": "0001-01-01T00:00:00Z"}, "dates"),
        ({"date": {"year": 2013}}, "dates"),
        ({"date": ["2013-09-18"]}, "dates"),
        ({"url": 4}, "addresses"),
        ({"url": ["https://a.org"]}, "addresses"),
        ({"title": {"en": "T"}}, "addresses"),
        ({"title": "t" * 20_000}, "addresses"),
        ({"text": "caf\x82"}, "encodings"),
        ({"text": "caf� au lait"}, "encodings"),
        ({"text": "a\x00b"}, "encodings"),
        ({"title": "half \ud83d"}, "encodings"),
        ({"date": None, "url": None, "title": ""}, None),
        ({"date": float("nan"), "url": float("nan"), "title": " "}, None),
        ({"date": "2013-09-18", "url": "https://a.org", "title": "Été – \U0001f600"}, None),
    ],
)
def test_each_kind_is_counted_once_for_a_record_and_an_absent_value_never(jsonl, row, kind):
    (document,) = documents(jsonl("a.jsonl", [{"text": "A text.", **row}]))
    assert document.losses == ({} if kind is None else {kind: 1})


def test_losses_of_a_shard_are_summed_with_the_columns_that_nothing_reads(jsonl, tmp_path):
    rows = [
        {"text": "one", "date": "soon", "id": 1, "meta": {"lang": "en"}},
        {"text": "two", "date": "later", "url": 4, "id": 2},
        {"text": "", "date": "soon", "id": 3},
        {"text": "four", "meta": {"link": "https://a.org"}},
    ]
    source = jsonl("a.jsonl", rows, title_column="meta.link")
    assert losses_of(source, tmp_path / "staged") == {
        ("dates", ""): 2,
        ("addresses", ""): 1,
        ("columns", ""): 2,
        ("unread_columns", "id"): 3,
    }


def test_sound_records_lose_nothing(jsonl, written, tmp_path):
    rows = [{"text": "one", "url": "https://a.org", "date": 1556197074, "title": "T"}]
    assert losses_of(jsonl("a.jsonl", rows), tmp_path / "staged") == {}
    assert losses_of(written("a.txt", "A text."), tmp_path / "staged") == {}


def test_names_of_columns_that_are_data_do_not_fill_the_table(jsonl, tmp_path, monkeypatch):
    monkeypatch.setattr("toolformer.sources.cutting._MAX_LOSSES", 10)
    rows = [{"text": "one", f"user {number}": 1} for number in range(30)]
    found = losses_of(jsonl("a.jsonl", rows, shard_size=100), tmp_path / "staged")
    assert (len(found), found["unread_columns", "(others)"]) == (11, 20)


def test_every_kind_has_words():
    for kind in get_args(LossKind):
        ((words, count),) = losses_in_words([(kind, "", 7)])
        assert (count, "_" in words) == (1 if kind == "unread_columns" else 7, False)
    many = [Loss("a.jsonl", "unread_columns", f"c{number:02}")[1:] for number in range(30)]
    ((words, count),) = losses_in_words([(kind, name, 1) for kind, name in many])
    assert count == 30
    assert words.endswith("c18, c19, …")


def test_files_whose_names_are_no_utf8_are_told_apart(tmp_path, source_of):
    for letter in (b"\xe8", b"\xe9"):
        name = tmp_path / f"caf{letter.decode(errors='surrogateescape')}.jsonl"
        name.write_text('{"text": "one"}\n')
    found = documents(source_of(tmp_path))
    assert [document.source.rpartition("/")[2] for document in found] == [
        *("caf\\xe8.jsonl", "caf\\xe9.jsonl")
    ]

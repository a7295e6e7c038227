"""The object store: conditional puts, contents by digest, and what it says when refused."""

from pathlib import Path
from typing import Any

import pytest

from warehouse.errors import StoreConflictError, StoreError
from warehouse.store.objects import ObjectStore

obstore = pytest.importorskip("obstore")


def _stored(store: ObjectStore, folder: Path, text: str) -> str:
    file = folder / "content"
    file.write_text(text)
    return store.put_file(file)


def test_a_store_with_conditional_puts_is_accepted_and_left_empty(bucket: str) -> None:
    store = ObjectStore(bucket)
    store.check()
    assert list(obstore.list(obstore.store.from_url(bucket))) in ([], [[]])


def test_a_store_that_ignores_the_condition_is_refused(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = obstore.put

    def careless(store: Any, path: str, content: Any, **_: Any) -> Any:
        return put(store, path, content)

    monkeypatch.setattr(obstore, "put", careless)
    with pytest.raises(StoreError, match="ignores the condition"):
        ObjectStore(bucket).check()


def test_a_pointer_is_swapped_only_by_who_has_seen_its_newest_state(bucket: str) -> None:
    store = ObjectStore(bucket)
    first = store.swap("place", {"": "a" * 64}, None)
    second = store.swap("place", {"": "b" * 64}, first)
    for seen in (None, first):
        with pytest.raises(StoreConflictError, match="was written by another machine"):
            store.swap("place", {"": "c" * 64}, seen)
    pointer = store.pointer("place")
    assert pointer is not None
    assert (pointer.files, pointer.tag) == ({"": "b" * 64}, second)


def test_a_put_whose_answer_was_lost_is_no_conflict(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = obstore.put

    def sent_twice(*given: Any, **named: Any) -> Any:
        put(*given, **named)
        return put(*given, **named)

    store = ObjectStore(bucket)
    with monkeypatch.context() as patch:
        patch.setattr(obstore, "put", sent_twice)
        tag = store.swap("place", {"": "a" * 64}, None)
    pointer = store.pointer("place")
    assert pointer is not None
    assert pointer.tag == tag


def test_two_that_write_the_same_do_not_take_each_others_for_their_own(bucket: str) -> None:
    store = ObjectStore(bucket)
    store.swap("place", {"": "a" * 64}, None)
    with pytest.raises(StoreConflictError):
        store.swap("place", {"": "a" * 64}, None)


def test_places_are_listed_by_the_beginning_of_their_names(bucket: str) -> None:
    store = ObjectStore(bucket)
    for place in ("shard-1/a", "shard-1/b", "shard-10/a"):
        store.swap(place, {}, None)
    assert sorted(store.tags("shard-1/")) == ["shard-1/a", "shard-1/b"]
    assert len(store.tags("shard-1")) == 3
    store.remove("shard-1/a")
    store.remove("shard-1/a")
    assert sorted(store.tags()) == ["shard-1/b", "shard-10/a"]


def test_contents_come_back_as_they_were(bucket: str, tmp_path: Path) -> None:
    store = ObjectStore(bucket)
    digest = _stored(store, tmp_path, "words")
    store.fetch(digest, tmp_path / "copy")
    assert (tmp_path / "copy").read_text() == "words"


def test_altered_contents_are_refused(bucket: str, tmp_path: Path) -> None:
    store = ObjectStore(bucket)
    digest = _stored(store, tmp_path, "words")
    obstore.put(obstore.store.from_url(bucket), f"objects/{digest[:2]}/{digest}", b"other")
    with pytest.raises(StoreError, match="not what was stored"):
        store.fetch(digest, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_missing_contents_are_named(bucket: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"is missing in 's3://.*though a pointer names it"):
        ObjectStore(bucket).fetch("0" * 64, tmp_path / "copy")


def test_a_bucket_that_is_not_there_is_said_at_once(bucket: str) -> None:
    with pytest.raises(StoreError, match="There is no bucket for 's3://no-such-bucket/x'"):
        ObjectStore("s3://no-such-bucket/x").check()


def test_a_store_that_does_not_answer_is_asked_for_a_while(
    bucket: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(StoreError, match=r"does not answer.*Check AWS_ENDPOINT_URL"):
        ObjectStore(bucket, patience=0.5).check()
    assert "Asking again" in caplog.text


def test_what_is_no_address_of_a_store_is_refused() -> None:
    with pytest.raises(StoreError, match="Expected one such as s3://bucket/prefix"):
        ObjectStore("somewhere")


def test_a_pointer_of_a_stranger_is_named(bucket: str) -> None:
    obstore.put(obstore.store.from_url(bucket), "places/place", b"hello")
    with pytest.raises(StoreError, match=r"'places/place'.*not what this project wrote"):
        ObjectStore(bucket).pointer("place")

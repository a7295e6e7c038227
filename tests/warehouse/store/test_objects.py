"""The object store: names that are written once, and what it says when refused."""

from typing import Any

import pytest

from warehouse.errors import StoreConflictError, StoreError
from warehouse.store.objects import ObjectStore

obstore = pytest.importorskip("obstore", reason="needs the extra `s3`")


def test_a_store_that_ignores_the_condition_is_refused(bucket: str, monkeypatch):
    ObjectStore(bucket).check()
    assert list(obstore.list(obstore.store.from_url(bucket))) in ([], [[]])
    put = obstore.store.S3Store.put

    def careless(store: Any, path: str, content: Any, **_: Any) -> Any:
        return put(store, path, content)

    monkeypatch.setattr(obstore.store.S3Store, "put", careless)
    with pytest.raises(StoreError, match="condition"):
        ObjectStore(bucket).check()


def test_a_name_is_written_once(bucket: str):
    store = ObjectStore(bucket)
    store.put_new("name", b"first")
    with pytest.raises(StoreConflictError):
        store.put_new("name", b"second")
    assert store.read("name") == b"first"
    assert store.read("other name") is None


def test_a_put_whose_answer_was_lost_is_no_conflict(bucket: str, monkeypatch):
    put = obstore.store.S3Store.put

    def sent_twice(*given: Any, **named: Any) -> Any:
        put(*given, **named)
        return put(*given, **named)

    store = ObjectStore(bucket)
    with monkeypatch.context() as patch:
        patch.setattr(obstore.store.S3Store, "put", sent_twice)
        store.put_new("name", b"content")
    assert store.read("name") == b"content"


def test_objects_are_listed_by_the_folders_of_their_names(bucket: str):
    store = ObjectStore(bucket)
    for name in ("shard-1/a", "shard-1/b", "shard-10/a"):
        store.put_new(name, b"content")
    assert [stored.path for stored in store.listed("shard-1")] == ["shard-1/a", "shard-1/b"]
    store.remove(["shard-1/a"])
    store.remove(["shard-1/a"])
    assert [stored.path for stored in store.listed()] == ["shard-1/b", "shard-10/a"]
    assert {stored.bytes for stored in store.listed()} == {7}


def test_a_store_that_does_not_answer_is_asked_for_a_while(bucket: str, monkeypatch, caplog):
    for url in ("s3://no-such-bucket/x", "somewhere"):
        with pytest.raises(StoreError):
            ObjectStore(url).check()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(StoreError, match="does not answer"):
        ObjectStore(bucket, patience=0.5).check()
    assert "Asking again" in caplog.text

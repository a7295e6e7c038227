"""Files and folders of two machines over one object store."""

from pathlib import Path

import pytest

from tests.warehouse.store.conftest import Machines
from warehouse.errors import StoreConflictError, StoreError
from warehouse.store.files import MirroredFiles


def test_a_folder_comes_as_it_is_with_what_was_removed_gone(machines: Machines):
    one, two = machines
    one.write_file("indexes/index/a", "1")
    one.write_file("indexes/index/below/b", "2")
    one.files.publish(one.root / "indexes" / "index")
    assert not two.files.fetch(two.root / "other")
    assert two.files.fetch(two.root / "indexes" / "index")
    assert (two.root / "indexes" / "index" / "below" / "b").read_text() == "2"
    (one.root / "indexes" / "index" / "a").unlink()
    one.files.publish(one.root / "indexes" / "index")
    two.files.fetch(two.root / "indexes")
    assert [path.name for path in (two.root / "indexes" / "index").iterdir()] == ["below"]


def test_who_has_not_seen_the_newest_version_is_refused(machines: Machines):
    one, two = machines
    for machine in machines:
        machine.files.fetch(machine.root / "m.json")
    one.files.publish(one.write_file("m.json", "1"))
    mine = two.write_file("m.json", "2")
    with pytest.raises(StoreConflictError, match="another machine"):
        two.files.publish(mine)
    assert two.files.is_newer(mine)
    assert two.files.has_uncopied()
    assert two.files.fetch(mine)
    assert mine.read_text() == "1"
    assert not two.files.is_newer(mine)


def test_of_two_that_publish_at_once_one_is_refused(machines: Machines, monkeypatch):
    one, two = machines
    put_file = two.objects.put_file

    def put_after_the_other(file: Path, path: str) -> None:
        one.files.publish(one.write_file("m.json", "1"))
        put_file(file, path)

    monkeypatch.setattr(two.objects, "put_file", put_after_the_other)
    with pytest.raises(StoreConflictError):
        two.files.publish(two.write_file("m.json", "2"))


def test_what_is_published_already_is_not_published_again(machines: Machines):
    one, _ = machines
    for _ in range(2):
        one.files.publish(one.write_file("m.json", "1"))
    assert [stored.path for stored in one.objects.listed("files")] == ["files/m.json@00000001"]


def test_copies_of_a_store_that_was_filled_anew_are_replaced(machines: Machines):
    one, two = machines
    for text in ("1", "2", "3"):
        one.files.publish(one.write_file("m.json", text))
    copy = two.root / "m.json"
    two.files.fetch(copy)
    one.objects.remove([stored.path for stored in one.objects.listed()])
    MirroredFiles(one.objects, one.root, one.root / "new").publish(one.write_file("m.json", "anew"))
    two.files.fetch(copy)
    assert copy.read_text() == "anew"


@pytest.mark.parametrize(
    ("folder", "content"), [("objects", b"other"), ("objects", None), ("files", b"hello")]
)
def test_damage_in_the_store_is_an_error(machines: Machines, folder: str, content: bytes | None):
    one, two = machines
    one.files.publish(one.write_file("m.json", "1"))
    [stored] = one.objects.listed(folder)
    one.objects.remove([stored.path])
    if content is not None:
        one.objects.put_new(stored.path, content)
    with pytest.raises(StoreError):
        two.files.fetch(two.root / "m.json")
    assert not (two.root / "m.json").exists()

"""A bit that flips in stored data is found."""

import json
import random
import shutil
import struct
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from assets.run import Workspace
from assets.training.finetuning import FinetunedModel
from dagster_project.commands.doctor import Finding
from dagster_project.commands.doctor_damage import examine_files
from tests.corpora import cut_corpus, write_texts
from tests.dagster_project.test_doctor import filled_warehouse, finding, truncate, works
from tests.warehouse.rows import LABEL
from toolformer.base.kept_digests import DIGESTS_FILE, keep_digests
from toolformer.base.sealed import sealed
from toolformer.errors import DamagedModelError
from toolformer.forward.embedded_model import embedded_model_directory
from toolformer.home.home import Home
from toolformer.home.settings.sections import Settings, validated
from toolformer.home.settings.settings_file import load_settings
from toolformer.home.wiring.model_damage import check_undamaged
from toolformer.home.wiring.model_holder import ModelHolder
from toolformer.sources.source import Source
from tools.retrieval.index_folder import write_information

EMBEDDED, FINETUNED = "models/smollm2-135m-instruct", "models/toolformer-round-2"
FOLDERS = ("indexes/wikipedia", "indexes/passages", EMBEDDED, FINETUNED)


def put_model(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name in ("config.json", "tokenizer.json", "toolformer.json"):
        (folder / name).write_text(json.dumps({"name": name}))
    # A header, and more than the 64 blocks that an identity reads.
    weights = struct.pack("<Q", 2) + b"{}" + random.Random(0).randbytes(599_990)
    (folder / "model.safetensors").write_bytes(weights)
    return folder


def put_index(folder: Path) -> None:
    (folder / "encoder").mkdir(parents=True)
    for name in ("vectors.faiss", "passages.jsonl", "encoder/terms.txt"):
        (folder / name).write_text(f"{folder.name} {name}" * 50)
    write_information(folder, {"format": 1, "fingerprint": "f", "passages": 3})


def put_texts(home: Home, folder: Path, words: str) -> None:
    file = write_texts(folder / "texts.jsonl", [f"{word} day." for word in words.split()])
    cut_corpus(home, [Source(path=str(file), shard_size=1)])


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Home:
    """One of everything, one active and one retired shard; copied, never changed."""
    made = Home(tmp_path_factory.mktemp("made") / "home")
    for model in (EMBEDDED, FINETUNED):
        keep_digests(put_model(made.root / model))
    for index in (made.wikipedia_index, made.passage_index):
        put_index(index)
    put_texts(made, made.root.parent, "One Two")
    put_texts(made, made.root.parent, "One")
    return made


@pytest.fixture
def home(made: Home, tmp_path) -> Home:
    shutil.copytree(made.root, tmp_path / "home")
    return Home(tmp_path / "home")


def flip(path: Path, seed: int) -> None:
    content = bytearray(path.read_bytes())
    bit = random.Random(seed).randrange(8 * len(content))
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(file): (file.stat().st_mtime_ns, file.read_bytes())
        for file in folder.rglob("*")
        if file.is_file()
    }


def damaged(home: Home, *, is_full: bool = True) -> list[Finding]:
    settings = load_settings(home.settings_file)
    return [each for each in examine_files(home, settings, is_full=is_full) if each.files]


def settings_of(model: Path) -> Settings:
    given = {"language_model": {"path": str(model), "device": "cpu", "precision": "float32"}}
    return validated(given, origin="test")


def test_a_sound_home_is_said_to_be_and_stays_as_it_is(home):
    before = tree(home.root)
    assert damaged(home) == damaged(home, is_full=False) == []
    assert tree(home.root) == before


@pytest.mark.parametrize(
    "name",
    [
        *(f"{FOLDERS[0]}/{name}" for name in ("index.json", "vectors.faiss")),
        *(f"{FOLDERS[1]}/{name}" for name in ("passages.jsonl", "encoder/terms.txt")),
        *(f"{EMBEDDED}/{name}" for name in ("config.json", "model.safetensors")),
        *(f"{FINETUNED}/{name}" for name in ("tokenizer.json", "toolformer.json")),
    ],
)
def test_a_flipped_bit_is_found_and_only_named(home, name):
    flip(home.root / name, 0)
    before = tree(home.root)
    (found,) = damaged(home)
    assert found.files == (str(home.root / name),)
    assert Path(name).name in found.detail
    assert found.remedy.startswith("Remove ")
    assert str(home.root / name).startswith(found.remedy.removeprefix("Remove ").split(";")[0])
    assert tree(home.root) == before


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("sources/manifest.json", "Restore it from a copy"),
        ("sources.json", "ingest your sources again"),
        (f"{FINETUNED}/min_call_probability.json", "`toolformer train` makes it again"),
        ("cache/checkpoints/finetuned_model.x/state-00000001/progress.json", "Remove the folder"),
    ],
)
def test_a_digit_that_changed_in_a_file_with_a_digest_of_its_own_is_found(home, name, remedy):
    file = home.root / name
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(sealed({"sources": [{"path": "/a", "shard_size": 10}]})))
    assert damaged(home) == []
    content = file.read_bytes()
    assert b"1" in content
    file.write_bytes(content.replace(b"1", b"3"))
    if name != "sources.json":
        for is_full in (True, False):
            (found,) = damaged(home, is_full=is_full)
            assert found.files == (str(file),)
            assert "was altered" in found.detail
            assert remedy in found.remedy
    else:
        assert "was altered" in finding(home, "settings").detail
    file.write_bytes(content)
    assert damaged(home) == []


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b'{"files": 1, "digest": 2}', None])
def test_a_flipped_bit_in_digests_is_told_from_one_in_the_files(home, content):
    digests = home.root / FINETUNED / DIGESTS_FILE
    renamed = digests.read_bytes().replace(b"model.safe", b"model.saff")
    digests.write_bytes(renamed if content is None else content)
    (found,) = damaged(home)
    assert found.files == (str(digests),)
    assert found.remedy.startswith(f"Remove {digests}:")


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("change", ["cut", "remove", "folder"])
def test_without_reading_a_file_that_is_gone_or_cut_is_found(home, folder, change):
    file = home.root / folder / ("model.safetensors" if "models" in folder else "vectors.faiss")
    if change == "cut":
        truncate(file)
    else:
        file.unlink()
        if change == "folder":
            file.mkdir()
    (found,) = damaged(home, is_full=False)
    assert found.files == (str(file),)
    assert found.remedy.startswith(f"Remove {home.root / folder};")
    shutil.rmtree(home.root / folder)
    assert damaged(home, is_full=False) == []


def test_damaged_texts_come_back_when_their_source_is_cut_again(home, made):
    (path,) = (home.warehouse / "documents" / "shard=shard-00000").iterdir()
    truncate(path)
    (found,) = damaged(home)
    assert "the next build makes them again" in found.remedy
    path.unlink()
    assert "shard-00000" in finding(home, "manifest").detail
    put_texts(home, made.root.parent, "One")
    assert works(home, "manifest")
    assert damaged(home) == []


def test_a_damaged_judgement_is_a_finding_that_no_advice_removes(home):
    file = home.root / "labels.jsonl"
    file.write_bytes(json.dumps(LABEL | {"label_id": "l1"}).encode() + b"\n{\n")
    (found,) = damaged(home, is_full=False)
    assert (found.name, found.files) == ("judgements", (str(file),))
    assert found.detail.startswith(f"Damaged lines in '{file}': 1, namely 2.")
    assert "emove" not in found.remedy


def test_files_without_permission_are_findings_and_left_where_they_are(home, monkeypatch):
    """Root may read everything, so reading is refused here."""

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("toolformer.base.kept_digests.hex_digest_of_file", refuse)
    found = damaged(home)
    for each, place in zip(found, FOLDERS, strict=True):
        assert Path(each.files[0]).is_relative_to(home.root / place)
    assert all("Permission denied" in each.detail for each in found)


def test_a_model_of_the_user_is_compared_and_never_touched(home, tmp_path):
    model = put_model(tmp_path / "gptj")
    home.settings_file.write_text(f"language_model:\n  path: {model}\n")
    assert damaged(home) == []
    keep_digests(model)
    flip(model / "model.safetensors", 1)
    before = tree(model)
    (found,) = damaged(home)
    assert found.files == (str(model / "model.safetensors"),)
    assert found.remedy.startswith("Restore these files")
    assert tree(model) == before
    with pytest.raises(DamagedModelError, match="Restore these files"):
        check_undamaged(model, home)


# Loading


def test_a_flipped_bit_is_found_before_a_model_is_loaded(home):
    path = home.root / FINETUNED
    weights = path / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[len(content) // 64 + 5_000] ^= 4
    weights.write_bytes(content)
    holder = ModelHolder()
    for load in (holder.load, partial(holder.load_in, "bfloat16")):
        with pytest.raises(DamagedModelError, match=r"model\.safetensors.*Remove "):
            load(path, settings_of(path), home)
    holder.release()


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "toolformer.json"])
def test_of_a_model_too_large_to_be_read_the_small_files_are(home, monkeypatch, name):
    monkeypatch.setattr("toolformer.home.wiring.model_damage._MAX_BYTES_READ", 10_000)
    path = home.root / FINETUNED
    flip(path / "model.safetensors", 1)
    check_undamaged(path, home)
    flip(path / name, 1)
    monkeypatch.setattr("toolformer.home.wiring.model_damage._compared", set())
    with pytest.raises(DamagedModelError, match=name):
        check_undamaged(path, home)


def test_a_converted_model_of_the_cache_is_examined(home, tmp_path):
    split = Home(home.root, tmp_path / "cache")
    split.machine.mkdir()
    shutil.move(home.root / EMBEDDED, split.machine / EMBEDDED)
    flip(split.machine / EMBEDDED / "model.safetensors", 1)
    (found,) = damaged(split)
    assert found.files == (str(split.machine / EMBEDDED / "model.safetensors"),)


def test_a_flipped_bit_in_the_base_model_is_found_before_it_is_trained(home):
    flip(embedded_model_directory(home.converted_models) / "model.safetensors", 1)
    run: Any = Workspace(validated({}, origin="test"), home)
    work: Any = None
    with pytest.raises(DamagedModelError, match=r"model\.safetensors"):
        FinetunedModel(run=run, directory=home.finetuned_model(1))._train(work, "f")


def test_partitions_of_any_size_are_read_in_full(home, monkeypatch):
    monkeypatch.setattr("dagster_project.commands.doctor_damage._MAX_BYTES_READ", 0)
    filled_warehouse(home)
    path = next(home.warehouse.glob("documents/shard=shard-*/*.parquet"))
    truncate(path)
    assert damaged(home, is_full=False) == []
    (found,) = damaged(home)
    assert found.files == (str(path),)

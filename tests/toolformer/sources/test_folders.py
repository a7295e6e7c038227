"""Which files of a folder or pattern are read, in which format."""

import os

import pyarrow
import pytest
from pyarrow import parquet

from tests.toolformer.sources.conftest import documents, outcomes, parsed
from toolformer.sources.errors import SourceError, SourceNotFoundError
from toolformer.sources.files import detect_format, skipped_files


def test_a_pattern_reads_files_by_name_names_each_and_counts_records_over_all(
    source_of, written, jsonl, monkeypatch, tmp_path
):
    for name in ("deep/er/b", "deep/a"):
        jsonl(f"{name}.jsonl", [{"text": f"{name}{number}"} for number in range(3)])
    written("deep/ignored.txt", "no")
    monkeypatch.chdir(tmp_path)
    found = documents(source_of("./deep/**/*.jsonl", limit=4))
    assert [item.source for item in found] == ["deep/a.jsonl"] * 3 + ["deep/er/b.jsonl"]
    assert [item.text for item in found] == ["deep/a0", "deep/a1", "deep/a2", "deep/er/b0"]


def test_hidden_files_are_read_where_the_pattern_names_them(source_of, written, tmp_path):
    for name in ("more/a.txt", "more/._a.txt", "more/.ipynb_checkpoints/a.txt"):
        written(f".mine/{name}", name)

    def read(pattern: str) -> list[str]:
        return [document.text for document in documents(source_of(tmp_path / ".mine" / pattern))]

    assert read("more/*.txt") == read("**/a.txt") == read("m*/*") == ["more/a.txt"]
    assert read("more/._*.txt") == ["more/._a.txt"]
    assert read("more/.ipynb*/*") == ["more/.ipynb_checkpoints/a.txt"]


def test_files_of_a_folder_whose_names_tell_no_format_are_told(tmp_path, source_of, written):
    for name in ("a.jsonl", "b.jsonl.lz4", "more/c.pdf", ".hidden/d.pdf", "more/e.jsonl.gz"):
        written(f"folder/{name}", "")
    folder = tmp_path / "folder"
    assert skipped_files(source_of(folder)) == ["b.jsonl.lz4", "more/c.pdf"]
    # As texts all are read.
    assert skipped_files(source_of(folder, format="text")) == []
    assert skipped_files(source_of(folder / "a.jsonl")) == []
    assert skipped_files(source_of(folder / "*.jsonl")) == []


def test_a_data_set_is_read_without_its_readme_and_metadata(tmp_path, source_of, written):
    about = [
        *("LICENSE.txt", "README.md", "columns.json", "data/state.json", "data/statistics.json"),
        *("dataset_infos.json", "notes.md"),
    ]
    for name in (*about, ".gitattributes"):
        written(f"hub/{name}", '{\n"splits": 2}')
    for split in ("train", "test"):
        path = tmp_path / f"hub/data/{split}-00000-of-00001.parquet"
        parquet.write_table(pyarrow.table({"text": [split]}), path)
    assert outcomes(source_of(tmp_path / "hub")) == ["test", "train"]
    assert skipped_files(source_of(tmp_path / "hub")) == about


@pytest.mark.parametrize(
    ("names", "left_out"),
    [
        (["a.jsonl", "README.md", "dataset_info.json"], ["README.md", "dataset_info.json"]),
        (["a.jsonl", "citation-contexts.jsonl", "README.md"], ["README.md"]),
        # Among texts a README is one.
        (["a.md", "README.md", "state.json"], ["state.json"]),
        (["README.md"], []),
    ],
)
def test_a_readme_is_left_out_beside_records_alone(tmp_path, source_of, written, names, left_out):
    for name in names:
        written(f"set/{name}", '{"text": "a"}')
    assert len(outcomes(source_of(tmp_path / "set"))) == len(names) - len(left_out)
    assert skipped_files(source_of(tmp_path / "set")) == left_out


def test_a_folder_holds_files_of_one_format_and_some_may_be_empty(tmp_path, source_of, written):
    with pytest.raises(SourceError, match="has no files"):
        parsed(source_of(tmp_path))
    written("a.jsonl", "")
    written("b.jsonl", '{"text": "one"}')
    assert outcomes(source_of(tmp_path)) == ["one"]
    written("b.txt", "x")
    with pytest.raises(SourceError, match="jsonl, text"):
        parsed(source_of(tmp_path))


@pytest.mark.parametrize(
    ("path", "named"),
    [("news_2012.jsonl", "news_2013"), ("nowhere/a.jsonl", "nowhere"), ("*.xml", "pattern")],
)
def test_a_source_that_is_not_there_is_named(tmp_path, source_of, written, path, named):
    written("news_2013.jsonl", '{"text": "x"}')
    with pytest.raises(SourceNotFoundError, match=named):
        parsed(source_of(tmp_path / path))


@pytest.mark.parametrize(
    ("expected", "names"),
    [
        ("jsonl", ["a.JSONL", "a.ndjson.zst"]),
        ("parquet", ["a.parquet"]),
        ("text", ["a.md.gz"]),
        ("csv", ["a.csv", "a.tsv.xz"]),
        ("arrow", ["data-00000-of-00001.arrow"]),
        (None, ["a.parquet.gz", "archive.tar.gz", "folder.d/a", "a.warc.gz", "a.xml"]),
    ],
)
def test_format_is_told_by_the_file_name(expected, names):
    assert [detect_format(name) for name in names] == [expected] * len(names)


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("enwiki-1.xml-p1p41242.bz2", "hf://datasets/wikimedia/wikipedia"),
        ("pages.xml", "JSON lines"),
        ("CC-MAIN-20240501-00001.warc.wet.gz", "Extract their texts to JSON lines"),
        ("a.warc", "Extract their texts to JSON lines"),
        ("texts.zip", "Unpack"),
    ],
)
def test_a_format_that_is_not_read_is_refused_with_the_form_to_bring(
    written, tmp_path, source_of, name, instead
):
    for source in (
        written(f"one/{name}", b"x"),
        source_of(tmp_path / "one"),
        source_of(tmp_path / "one/*"),
    ):
        with pytest.raises(SourceError, match=instead):
            parsed(source)
    written("one/README.txt", "About the set.")
    with pytest.raises(SourceError, match=instead):
        parsed(source_of(tmp_path / "one"))
    # Beside texts it is left out, and reported.
    written("one/a.jsonl", '{"text": "One."}\n')
    assert outcomes(source_of(tmp_path / "one")) == ["One."]
    assert skipped_files(source_of(tmp_path / "one")) == sorted([name, "README.txt"])


def test_links_are_followed_and_pipes_are_not_files(tmp_path, source_of):
    """The cache of the Hugging Face hub has links to files."""
    folder = tmp_path / "set"
    folder.mkdir()
    (tmp_path / "one.txt").write_text("One.")
    (folder / "linked.txt").symlink_to(tmp_path / "one.txt")
    (folder / "broken.txt").symlink_to(tmp_path / "none.txt")
    os.mkfifo(folder / "pipe.txt")
    assert outcomes(source_of(folder)) == outcomes(source_of(folder / "*.txt")) == ["One."]

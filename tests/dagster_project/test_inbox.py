"""What is taken out of the inbox, and when."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.utils import make_new_run_id

from dagster_project.definitions import definitions
from dagster_project.sensors import entries_of, inbox
from tests.corpora import write_texts
from toolformer.home.home import Home
from toolformer.home.partitions import SHARDS
from toolformer.settings.settings_file import listed_sources
from toolformer.sources.manifest import Manifest, manifest_path


@pytest.fixture
def home(home: Home) -> Home:
    home.root.mkdir()
    return home


def put(home: Home, name: str, texts: int = 1) -> Path:
    return write_texts(home.inbox / name, [f"Text {n} of {name}." for n in range(texts)])


class Looks:
    """The sensor, look by look, as the daemon evaluates it."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        self.requests: Sequence[dg.RunRequest] = ()
        self._cursor: str | None = None
        self.said = ""

    def __call__(self) -> list[str]:
        """The paths that are asked for in this look."""
        context = dg.build_sensor_context(
            self.instance, cursor=self._cursor, repository_def=definitions().get_repository_def()
        )
        evaluated = inbox.evaluate_tick(context)
        self._cursor, self.said = evaluated.cursor, evaluated.skip_message or ""
        self.requests = evaluated.run_requests or ()
        return [path for request in self.requests for path in paths_of(request)]

    def run(self) -> list[bool]:
        """Do what was asked for, each run as the daemon launches it; whether it succeeded."""
        job = definitions().resolve_job_def("prepare")
        return [
            job.execute_in_process(
                instance=self.instance,
                run_config=request.run_config,
                asset_selection=list(request.asset_selection or ()) or None,
                tags={**request.tags, "dagster/sensor_name": inbox.name},
                raise_on_error=False,
            ).success
            for request in self.requests
        ]


def paths_of(request: dg.RunRequest) -> list[str]:
    return request.run_config["ops"]["corpus_manifest"]["config"]["new_sources"]


@pytest.fixture
def look() -> Iterator[Looks]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Looks(instance)


def test_an_entry_is_taken_once_when_two_looks_find_it_the_same(home: Home, look: Looks):
    assert look() == []
    assert home.inbox.is_dir()
    file = put(home, "news.jsonl")
    folder = put(home, "letters/first.txt").parent
    assert look() == []
    assert look.said.endswith("Scanned again in 30 s: 2.")
    assert look() == [str(folder), str(file)]
    (request,) = look.requests
    # A text changes no search index.
    assert request.asset_selection == [dg.AssetKey("corpus_manifest")]
    assert look.run() == [True]
    assert sources_with_shards(home) == [str(folder), str(file)]
    assert look() == []
    assert look() == []


def test_runs_of_another_projects_inbox_are_none_of_ours(home: Home, look: Looks):
    put(home, "news.jsonl")
    look()
    look()
    assert look.run() == [True]
    tags = {"dagster/sensor_name": inbox.name}
    look.instance.add_run(dg.DagsterRun("crawl", make_new_run_id(), tags=tags))
    assert look() == []


def test_a_file_that_is_still_written_is_not_taken_and_one_that_changes_later_is_again(
    home: Home, look: Looks
):
    file = put(home, "news.jsonl")
    for lines in range(2, 5):
        assert look() == []
        put(home, "news.jsonl", lines)
    assert look() == []
    assert look() == [str(file)]
    assert look.run() == [True]
    put(home, "news.jsonl", 3)
    assert look() == []
    assert look() == [str(file)]


def test_a_new_file_in_a_folder_is_a_change_of_the_folder(home: Home):
    folder = put(home, "letters/first.txt").parent
    before = entries_of(home.inbox)
    (folder / ".second.txt.part").write_text("hidden, as programs name what they copy")
    assert entries_of(home.inbox) == before
    put(home, "letters/second.txt")
    assert entries_of(home.inbox) != before


def test_what_can_be_no_source_is_left_where_it_is_with_the_reason(home: Home, look: Looks):
    put(home, "notes.docx")
    (home.inbox / "empty").mkdir()
    good = put(home, "news.jsonl")
    look()
    assert look() == [str(good)]
    assert look.run() == [True]
    put(home, "more.docx")
    look()
    assert look() == []
    assert "does not show its format" in look.said
    assert "more.docx" in look.said


def damage(home: Home) -> None:
    """Makes runs fail."""
    home.sources.mkdir()
    manifest_path(home.sources).write_text("no manifest")


def test_an_entry_whose_run_fails_is_tried_twice_more_and_then_when_it_changes(
    home: Home, look: Looks
):
    file = put(home, "news.jsonl")
    damage(home)
    look()
    for _ in range(3):
        assert look() == [str(file)]
        assert look.run() == [False]
    assert look() == []
    put(home, "news.jsonl", 2)
    look()
    assert look() == [str(file)]
    manifest_path(home.sources).unlink()
    assert look.run() == [True]
    assert sources_with_shards(home) == [str(file)]
    assert look() == []


def test_what_failed_is_tried_again_each_alone_beside_what_is_new(home: Home, look: Looks):
    first, second = put(home, "first.jsonl"), put(home, "second.jsonl")
    damage(home)
    look()
    look()
    assert look.run() == [False]
    manifest_path(home.sources).unlink()
    third = put(home, "third.jsonl")
    look()
    assert list(map(paths_of, look.requests)) == [[str(first)], [str(second)]]
    assert look.run() == [True, True]
    assert look() == [str(third)]


def test_an_entry_without_a_recorded_run_is_taken_where_it_is_listed(home: Home, look: Looks):
    file = put(home, "news.jsonl")
    look()
    assert look() == [str(file)]
    assert look() == [str(file)]
    prepare(home, [str(file)])
    assert look() == []


def test_broken_entries_stop_no_good_one_and_are_not_tried_again(home: Home, look: Looks):
    good = put(home, "news.jsonl")
    (home.inbox / "broken.parquet").write_text("no Parquet")
    os.close(os.open(os.fsencode(home.inbox) + b"/latin-\xe9.txt", os.O_CREAT))
    look()
    assert look() == [str(home.inbox / "broken.parquet"), str(good)]
    assert look.run() == [True]
    assert listed_sources(home.settings_file) == {str(good)}
    assert sources_with_shards(home) == [str(good)]
    assert look() == []


def prepare(home: Home, paths: list[str]) -> dg.ExecuteInProcessResult:
    job = definitions().resolve_job_def("prepare")
    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(
            instance=instance,
            run_config={"ops": {"corpus_manifest": {"config": {"new_sources": paths}}}},
            asset_selection=[dg.AssetKey("corpus_manifest")],
        )
        shards = set(instance.get_dynamic_partitions(SHARDS.name))
        reported = instance.get_materialized_partitions(dg.AssetKey("documents"))
    active = {entry.key for entry in Manifest.load(home.sources).active_shards}
    assert shards == reported == active
    return result


def sources_with_shards(home: Home) -> list[str]:
    return [entry.source for entry in Manifest.load(home.sources).active_shards]


def test_the_embedded_corpus_stays_beside_a_new_source_where_it_has_shards(home: Home, monkeypatch):
    from toolformer.settings.corpus_sections import EMBEDDED_SOURCES

    # Whole it has hundreds of shards.
    short = tuple(source.model_copy(update={"limit": 4}) for source in EMBEDDED_SOURCES)
    monkeypatch.setattr("toolformer.settings.settings_file.EMBEDDED_SOURCES", short)
    prepare(home, [])
    assert not listed_sources(home.settings_file)
    embedded = set(sources_with_shards(home))
    prepare(home, [str(home.inbox / "missing.jsonl")])
    assert not listed_sources(home.settings_file)
    file = put(home, "news.jsonl")
    prepare(home, [str(file)])
    assert listed_sources(home.settings_file) == {*embedded, str(file)}


def test_new_sources_are_listed_and_cut_except_one_that_cannot_be_read(home: Home):
    first = put(home, "first.jsonl")
    prepare(home, [str(first)])
    assert listed_sources(home.settings_file) == {str(first)}
    assert sources_with_shards(home) == [str(first)]
    good, bad = put(home, "news.jsonl"), home.inbox / "bad.parquet"
    bad.write_text("no Parquet")
    result = prepare(home, [str(bad), str(good), str(first)])
    # What was there keeps its shards.
    assert sources_with_shards(home) == [str(first), str(good)]
    assert listed_sources(home.settings_file) == {str(first), str(good)}
    # Those of the texts are stored, and no longer in memory: a source can have many shards.
    (made,) = result.asset_materializations_for_node("corpus_manifest")
    assert made.metadata["dagster/row_count"].value == 2
    assert list(made.metadata["rejected sources"].value) == [str(bad)]


def test_an_entry_waits_until_the_settings_can_be_read(home: Home, look: Looks):
    file = put(home, "news.jsonl")
    assert look() == []
    home.settings_file.write_text("presett: small\n", encoding="utf-8")
    assert look() == []
    assert "no setting 'presett'" in look.said
    home.settings_file.unlink()
    assert look() == [str(file)]

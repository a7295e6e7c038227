"""Rows of one version of an input are never stored under the fingerprint of another."""

import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest

from assets.dataset.stages import PIPELINE
from assets.inputs import Expected, InputChangedError, stored_input
from assets.outputs import OutputRows, PartitionOutput
from assets.stage import Partition
from tests.warehouse.rows import SHARD, frame, put, remove_partition, save_manifest
from toolformer.home.fingerprints import FINGERPRINT, Fingerprint
from toolformer.home.home import Home
from toolformer.home.wiring.toolbox import Toolbox
from toolformer.settings.sections import validated
from toolformer.sources.manifest import Manifest
from warehouse.publishing import Publisher
from warehouse.warehouse import Warehouse

TOOL = "Calculator"


class Stage:
    """Makes `filtered_calls` whose one row says of which result it was made."""

    def __init__(self, root: Path):
        self.home = Home(root)
        self.warehouse = Warehouse(self.home.warehouse, self.home.database)
        save_manifest(self.home.sources)
        self.candidates("first")
        self.execute("first")

    def candidates(self, version: str) -> None:
        changes, fingerprint = {"arguments": version}, f"candidates {version}"
        put(self.warehouse, "candidate_calls", changes, fingerprint=fingerprint)

    def execute(self, version: str) -> None:
        """What another run does: new results under another fingerprint."""
        candidates = stored_input(self.warehouse, "candidate_calls", SHARD, TOOL)
        assert candidates is not None
        wanted = Expected(Fingerprint.of({"version": version}), (candidates,))
        metadata = {**wanted.metadata(), "run": f"run of {version}"}
        put(self.warehouse, "executed_calls", {"result": version}, **metadata)

    def expected(self) -> Expected:
        executed = stored_input(self.warehouse, "executed_calls", SHARD, TOOL)
        candidates = stored_input(self.warehouse, "candidate_calls", SHARD, TOOL)
        assert executed is not None
        assert candidates is not None
        parts = {"executed_calls": executed.fingerprint}
        return Expected(Fingerprint.of(parts), (executed, candidates))

    def make(
        self,
        *,
        while_waiting: Callable[[], object] = lambda: None,
        while_making: Callable[[], object] = lambda: None,
        output: "type[FilteredCalls] | None" = None,
        force: bool = False,
    ) -> str:
        return (output or FilteredCalls)(
            run=SimpleNamespace(home=self.home, force=force, warehouse=self.warehouse),  # type: ignore[arg-type]
            address=("filtered_calls", SHARD, TOOL),
            stage=self,
            while_waiting=while_waiting,
            while_making=while_making,
        ).ensure()

    def stored(self) -> tuple[str, str] | None:
        """The result that the stored row was made of, and the fingerprint it is stored under."""
        metadata = self.warehouse.partition_metadata("filtered_calls", SHARD, TOOL)
        if metadata is None:
            return None
        rows = self.warehouse.read_partition("filtered_calls", SHARD, TOOL)
        return rows["call_id"][0], metadata[FINGERPRINT]

    def stored_and_why_stale(self) -> tuple[str, str | None]:
        """The result that the stored row was made of, and why it is out of date."""
        metadata = self.warehouse.partition_metadata("filtered_calls", SHARD, TOOL)
        rows = self.warehouse.read_partition("filtered_calls", SHARD, TOOL)
        return rows["call_id"][0], self.expected().fingerprint.difference(metadata)


@dataclass(frozen=True, kw_only=True)
class FilteredCalls(PartitionOutput):
    """The output of the stage; something happens while it waits, or while it is made."""

    stage: Stage
    while_waiting: Callable[[], object]
    while_making: Callable[[], object]

    def expected(self) -> Expected:
        return self.stage.expected()

    @property
    def needs_device(self) -> bool:
        return True

    def hold_device(self) -> object:
        return self.while_waiting()

    def compute(self, expected: Expected) -> OutputRows:
        rows = self.run.warehouse.read_partition("executed_calls", SHARD, TOOL)
        self.while_making()
        return OutputRows(frame("filtered_calls", {"call_id": rows["result"][0]}))


@pytest.fixture
def stage(tmp_path) -> Stage:
    return Stage(tmp_path)


def test_an_input_that_changes_while_the_device_is_waited_for_is_looked_at_again(stage: Stage):
    assert stage.make(while_waiting=lambda: stage.execute("second")) == "done"
    assert stage.stored_and_why_stale() == ("second", None)
    assert stage.make() == "up to date"


def test_an_input_that_changes_while_rows_are_made_of_it_fails_and_tells_whose_run_it_was(
    stage: Stage,
):
    told = (
        f"executed_calls of {SHARD}, {TOOL} was replaced",
        r"another run \(run of second\) works here with other",
    )
    with pytest.raises(InputChangedError, match=f"(?s){'.*'.join(told)}"):
        stage.make(while_making=lambda: stage.execute("second"))
    assert stage.stored() is None
    assert stage.make() == "done"
    assert stage.stored_and_why_stale() == ("second", None)


def test_an_input_that_changes_and_is_changed_back_fails_too(stage: Stage):
    def there_and_back() -> None:
        stage.execute("second")
        stage.execute("first")

    with pytest.raises(InputChangedError):
        stage.make(while_making=there_and_back)
    assert stage.stored() is None


class WithOwnCosts(FilteredCalls):
    """The output whose costs say of which run they are, and are named as those of a stage."""

    runs: ClassVar[list[str]] = []

    @property
    def side_partitions(self) -> dict[str, str]:
        return {"rejected_records": TOOL, "stage_costs": f"{TOOL}.sampling"}

    def compute(self, expected: Expected) -> OutputRows:
        costs = frame("stage_costs", {"stage": "sampling", "model": self.runs[-1]})
        return OutputRows(
            frame("filtered_calls"),
            side_tables={
                "rejected_records": frame("rejected_records", {"reason": self.runs[-1]}),
                "stage_costs": costs,
            },
        )


def test_rows_beside_an_output_are_of_its_own_run_after_a_kill_of_another_one(
    stage: Stage, monkeypatch
):
    def made_by(run: str) -> str:
        monkeypatch.setattr(WithOwnCosts, "runs", [run])
        return stage.make(output=WithOwnCosts)

    def beside() -> tuple[str, str]:
        rejected = stage.warehouse.read_partition("rejected_records", SHARD, TOOL)
        costs = stage.warehouse.read_partition("stage_costs", SHARD, f"{TOOL}.sampling")
        return rejected["reason"][0], costs["model"][0]

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    assert made_by("plain") == "done"
    # A run with other settings, which is killed once it has written all rows.
    stage.execute("second")
    with monkeypatch.context() as patch:
        patch.setattr(Publisher, "publish", killed)
        with pytest.raises(KeyboardInterrupt):
            made_by("killed")
    assert beside() == ("plain", "plain")
    assert made_by("again") == "done"
    assert beside() == ("again", "again")
    assert made_by("again") == "up to date"


def test_lost_rows_beside_an_output_are_made_again(stage: Stage, monkeypatch):
    monkeypatch.setattr(WithOwnCosts, "runs", ["plain"])
    assert stage.make(output=WithOwnCosts) == "done"
    for table in ("rejected_records", "stage_costs"):
        shutil.rmtree(stage.home.warehouse / table)
        assert stage.make(output=WithOwnCosts) == "done"
        assert stage.make(output=WithOwnCosts) == "up to date"


class Answering(FilteredCalls):
    """The output whose row says what a tool answers."""

    answer: ClassVar[str]

    def compute(self, expected: Expected) -> OutputRows:
        return OutputRows(frame("filtered_calls", {"call_id": self.answer}))


def lose_line(stage: Stage) -> None:
    remove_partition(stage.warehouse, "filtered_calls", SHARD, TOOL)


def lose_file(stage: Stage) -> None:
    shutil.rmtree(stage.home.warehouse / "filtered_calls")


def damage_file(stage: Stage) -> None:
    [stored] = stage.warehouse.partitions("filtered_calls", SHARD)
    assert stored.path is not None
    stored.path.write_bytes(b"flipped")


def change_and_change_back(stage: Stage) -> None:
    stage.execute("second")
    assert stage.make() == "done"
    stage.execute("first")


@pytest.mark.parametrize(
    "happens", [lambda _: None, lose_line, lose_file, damage_file, change_and_change_back]
)
def test_other_rows_of_the_same_inputs_are_told_from_those_before(
    stage: Stage, monkeypatch, happens: Callable[[Stage], None]
):
    def made(answer: str) -> str:
        monkeypatch.setattr(Answering, "answer", answer, raising=False)
        assert stage.make(output=Answering, force=True) == "done"
        assert stage.make(output=Answering) == "up to date"
        call_id, fingerprint = stage.stored() or ("", "")
        assert call_id == answer
        return fingerprint

    first = made("first")
    happens(stage)
    other = made("other")
    happens(stage)
    assert other != made("first") == first


def test_inputs_that_were_not_made_from_each_other_are_refused(stage: Stage):
    stage.candidates("second")
    with pytest.raises(InputChangedError, match=r"candidate_calls of .* was replaced after"):
        stage.make()
    assert stage.stored() is None
    stage.execute("second")
    assert stage.make() == "done"


def merged(
    stage: Stage, *, window_tokens: int = 64, besides: Collection[str] = (), is_enabled: bool = True
) -> tuple[list[str], dict[str, str]]:
    """The tools that `augmented_texts` would merge, and why others are left out."""
    settings = validated(
        {"corpus": {"window_tokens": window_tokens}, "tools": {TOOL: {"is_enabled": is_enabled}}},
        origin="test",
    )
    (entry,) = Manifest.load(stage.home.sources).active_shards
    partition = Partition(settings, entry, Toolbox({}, {}, {}))
    found, left_out = PIPELINE.merged(
        PIPELINE["augmented_texts"], partition, stage.warehouse, besides=besides
    )
    return list(found), left_out


def test_calls_of_a_tool_whose_partitions_do_not_belong_together_are_not_merged(stage: Stage):
    stage.make()
    assert merged(stage) == ([], {TOOL: "a partition of its calls is missing"})
    put(stage.warehouse, "documents", fingerprint="texts")
    assert merged(stage) == ([TOOL], {})
    # Of tools that are planned themselves this is not asked.
    assert merged(stage, besides=[TOOL]) == ([], {})

    stage.candidates("second")
    names, left_out = merged(stage)
    assert names == []
    assert left_out[TOOL].startswith("candidate_calls of")

    sampled = Fingerprint.of({"corpus.window_tokens": 64}).metadata()
    put(stage.warehouse, "candidate_calls", **sampled)
    stage.execute("third")
    stage.make()
    assert merged(stage) == ([TOOL], {})
    assert merged(stage, window_tokens=32) == ([], {TOOL: "sampled in windows of 64 tokens"})


def test_calls_of_a_tool_that_is_switched_off_are_not_merged(stage: Stage):
    put(stage.warehouse, "documents", fingerprint="texts")
    stage.make()
    assert merged(stage, is_enabled=False) == ([], {TOOL: "switched off"})

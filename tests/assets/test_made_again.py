"""Outputs made again though nothing changed: what was made of other rows is out of date."""

from collections.abc import Iterator

import pytest

from tests.assets.conftest import MakeHome, PipelineHome
from tests.materialising import materialise, metadata_of
from toolformer.errors import ToolformerError
from toolformer.home.expected_errors import RunFailedError
from toolformer.home.fingerprints import FINGERPRINT
from toolformer.scoring.shard_scoring import ShardScoring
from tools.calculator import Calculator

pytestmark = [pytest.mark.java, pytest.mark.slow]

TOOL = "Calculator"
# Where an answer is kept, the tool is not asked again.
ASKED_AGAIN = {"execution": {"uses_cache": False}}


@pytest.fixture
def home(built_home: PipelineHome, copy_of: MakeHome) -> Iterator[PipelineHome]:
    """With a training set of its calls."""
    home = copy_of(built_home)
    with home.entered():
        assert state_of_training_set() == "done"
        yield home


def state_of_training_set() -> str:
    return metadata_of(materialise("training_set"))["state"]


def make_again(home: PipelineHome) -> None:
    home.build(tools=[TOOL], overrides=ASKED_AGAIN, force=True)


def answer_otherwise(patch: pytest.MonkeyPatch) -> None:
    """As a tool does whose data changed, or that could not be reached before."""
    patch.setattr(Calculator, "call", lambda *_: "nothing that any text has")


def scores(home: PipelineHome) -> list[tuple[str, float]]:
    scored = home.rows("scored_calls").filter(tool=TOOL)
    return scored.select("call_id", "loss_with_result").drop_nulls().rows()


def fingerprints(home: PipelineHome) -> dict[str, str]:
    return {
        f"{table} {part.shard} {part.name}": stored[FINGERPRINT]
        for table in ("executed_calls", "scored_calls", "augmented_texts")
        for part in home.warehouse.partitions(table)
        if (stored := home.warehouse.partition_metadata(table, part.shard, part.name))
    }


def test_what_failed_behind_other_answers_is_made_by_the_next_build(
    home: PipelineHome, monkeypatch
):
    before = scores(home)

    def fails(*_: object) -> None:
        raise ToolformerError("no room for the model")

    with monkeypatch.context() as patch:
        answer_otherwise(patch)
        patch.setattr(ShardScoring, "score", fails)
        with pytest.raises(RunFailedError, match="no room"):
            make_again(home)
    home.build()
    after = scores(home)
    assert after
    assert not set(after) & set(before)


def test_a_training_set_of_other_answers_is_made_anew(home: PipelineHome, monkeypatch):
    with monkeypatch.context() as patch:
        answer_otherwise(patch)
        make_again(home)
    assert state_of_training_set() == "done"
    # Once.
    made = home.partition_states()
    home.build()
    assert state_of_training_set() == "up to date"
    assert home.partition_states() == made


def test_equal_rows_leave_everything_behind_them_up_to_date(home: PipelineHome):
    before, states = fingerprints(home), home.partition_states()
    make_again(home)
    assert fingerprints(home) == before
    assert home.partition_states() != states
    assert state_of_training_set() == "up to date"


def test_a_damaged_partition_can_be_made_again(home: PipelineHome):
    before = fingerprints(home)
    (damaged,) = (
        part.path
        for part in home.warehouse.partitions("executed_calls", "shard-00000")
        if part.name == TOOL
    )
    assert damaged is not None
    damaged.write_bytes(b"flipped")
    make_again(home)
    assert fingerprints(home) == before
    assert home.warehouse.damage(["executed_calls"]) == {}

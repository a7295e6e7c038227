"""The cost of a stage that was killed and gone on with."""

from pathlib import Path
from typing import Any, cast

import pytest

from toolformer.forward.checkpoint import Checkpoint
from toolformer.forward.precision import PrecisionChoice
from toolformer.stage_cost import CostMeter, StageCost

STEPS = {"first": 10, "second": 20, "third": 30}


class Killed(BaseException):
    pass


class Fed:
    """What the meter asks of a model."""

    name = "fed"
    precision = "float32"
    choice = PrecisionChoice("float32", 612.0, None)
    tokens_fed = 0


def work(folder: Path, *, until: str | None = None) -> StageCost:
    """Feeds tokens in steps, in a process of its own as far as the meter can tell."""
    model = Fed()
    checkpoint = Checkpoint(folder, fingerprint="a")
    meter = CostMeter(cast(Any, model), checkpoint=checkpoint)
    for name, tokens in STEPS.items():
        if name == until:
            raise Killed

        def feed(tokens: int = tokens) -> int:
            model.tokens_fed += tokens
            return tokens

        checkpoint.step(name, feed)
    return meter.cost("sampling", candidates=len(STEPS))


def test_costs_add_up_over_the_processes_that_worked_on_a_stage(tmp_path: Path):
    undisturbed = work(tmp_path / "undisturbed")
    assert undisturbed.tokens_fed == 60
    for until in ("second", "third"):
        with pytest.raises(Killed):
            work(tmp_path / "killed", until=until)
    resumed = work(tmp_path / "killed")
    assert resumed.tokens_fed == 60
    assert resumed.seconds > 0
    assert resumed.float32_tokens_per_second == 612.0
    assert resumed.bfloat16_tokens_per_second is None


def test_what_was_spent_on_another_stage_does_not_count(tmp_path: Path):
    with pytest.raises(Killed):
        work(tmp_path, until="third")
    other = Checkpoint(tmp_path, fingerprint="b")
    assert (
        CostMeter(cast(Any, Fed()), checkpoint=other).cost("sampling", candidates=0).tokens_fed == 0
    )

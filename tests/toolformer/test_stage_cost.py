"""The cost of a stage that was killed and gone on with."""

from types import SimpleNamespace

import pytest

from toolformer.forward.checkpoint import Checkpoint
from toolformer.stage_cost import CostMeter


class Killed(BaseException):
    pass


def work(folder, *, until=None):
    """Feeds tokens in steps, in a process of its own as far as the meter can tell."""
    model = SimpleNamespace(name="fed", precision="float32", tokens_fed=0)
    checkpoint = Checkpoint(folder, fingerprint="a")
    meter = CostMeter(model, checkpoint=checkpoint)
    for name, tokens in {"first": 10, "second": 20, "third": 30}.items():
        if name == until:
            raise Killed

        def feed(tokens=tokens):
            model.tokens_fed += tokens

        checkpoint.step(name, feed)
    return meter.cost("sampling", candidates=3)


def test_costs_add_up_over_the_processes_that_worked_on_a_stage_and_on_no_other(tmp_path):
    assert work(tmp_path / "undisturbed").tokens_fed == 60
    for until in ("second", "third"):
        with pytest.raises(Killed):
            work(tmp_path / "killed", until=until)
    resumed = work(tmp_path / "killed")
    assert resumed.tokens_fed == 60
    assert resumed.seconds > 0
    other = Checkpoint(tmp_path / "killed", fingerprint="b")
    assert CostMeter(checkpoint=other).cost("sampling", candidates=0).tokens_fed == 0

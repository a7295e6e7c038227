"""Which tasks are served. Needs no lm-eval, but for one test."""

from importlib.util import find_spec
from types import SimpleNamespace

import pytest

from toolformer.errors import ToolformerError, UnservedGenerationError
from toolformer_lm_eval.tasks import open_tasks, output_types


def entry(kind, cfg=None, tags=()):
    return SimpleNamespace(kind=SimpleNamespace(name=kind), cfg=cfg, tags=set(tags))


INLINE = (
    {"task": "writes", "output_type": "loglikelihood"},
    {"group": "inline", "task": ["says nothing"]},
    {"task": "new", "output_type": "multiple_choice"},
)
INDEX = {
    "writes": entry("TASK", {"task": "writes", "output_type": "generate_until"}),
    "says nothing": entry("TASK", {"task": "says nothing"}),
    "picks": entry("TASK", {"task": "picks", "output_type": "multiple_choice"}),
    "tag": entry("TAG", tags=["writes", "picks"]),
    "group": entry("GROUP", {"group": "group", "task": ["tag", *INLINE, "misspelt"]}),
}


def test_the_types_of_tasks_groups_and_tags_are_known_without_their_data():
    assert list(output_types(["says nothing", "writen"], INDEX)) == [
        ("says nothing", "generate_until"),
        ("writen", None),
    ]
    assert list(output_types(["group"], INDEX)) == [
        ("picks", "multiple_choice"),
        ("writes", "generate_until"),
        ("writes", "loglikelihood"),
        ("says nothing", "generate_until"),
        ("new", "multiple_choice"),
        ("misspelt", None),
    ]


@pytest.mark.slow
@pytest.mark.skipif(find_spec("lm_eval") is None, reason="needs the package lm-eval")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tasks_that_compare_likelihoods_are_refused_by_name(tmp_path):
    for name, kind in (("picks", "multiple_choice"), ("weighs", "loglikelihood_rolling")):
        (tmp_path / f"{name}.yaml").write_text(f"task: {name}\noutput_type: {kind}\n")
    with pytest.raises(
        UnservedGenerationError, match=r"picks \(multiple_choice\), weighs .*nq_open"
    ):
        open_tasks(["picks", "weighs"], tmp_path)
    with pytest.raises(ToolformerError, match="is no folder"):
        open_tasks(["picks"], tmp_path / "nothing")

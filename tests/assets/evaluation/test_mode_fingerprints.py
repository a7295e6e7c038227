"""What the answers in a mode depend on."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from assets.evaluation.answers import Answers
from assets.evaluation.text_losses import Losses
from tests.dagster_project.test_plan import settings_with
from toolformer.decoding.completions import MinCallProbability
from toolformer.evaluation.modes import DISABLED, enabled
from toolformer.home.fingerprints import Fingerprint


def evaluated(changes: dict | None = None) -> dict[str, Fingerprint]:
    """Of perplexity, and of questions in both modes."""
    settings = settings_with(changes)
    decoding = settings.decoding
    on = enabled(decoding.call_top_k, MinCallProbability(0.0, decoding.min_call_probability or 0.0))
    same: Any = {
        "run": SimpleNamespace(settings=settings),
        "address": ("", "", ""),
        "name": "perplexity",
        "model": SimpleNamespace(name="base", identity=lambda _: "m", directory=Path("none")),
        "progress": None,
    }
    benchmark = SimpleNamespace(name="own", version="1", stop_rule="", blocked_tools=("QA",))
    tools = SimpleNamespace(tools={"Calendar": SimpleNamespace(version="1")})
    questions: Any = SimpleNamespace(benchmark=benchmark, tools=tools)
    made = {
        mode.name: Answers(questions=questions, mode=mode, items=[], count=0, **same)
        for mode in (DISABLED, on)
    }
    with pytest.MonkeyPatch.context() as patch:
        documents = {"shard-00000": SimpleNamespace(fingerprint="d")}
        patch.setattr(Losses, "_documents", lambda _: documents)
        perplexity = Losses(held_out=(), **same).expected().fingerprint
    return {
        **{name: answers._fingerprint([]) for name, answers in made.items()},
        "perplexity": perplexity,
    }


@pytest.mark.parametrize(
    ("changes", "concerned"),
    [
        ({"evaluation": {"seed": 7}}, {"perplexity"}),
        ({"evaluation": {"perplexity_windows": 7}}, {"perplexity"}),
        ({"corpus": {"window_tokens": 77}}, {"perplexity"}),
        ({"scoring": {"token_budget": 777}}, {"perplexity"}),
        ({"evaluation": {"batch_size": 7}}, {"disabled", "enabled"}),
        ({"evaluation": {"today": "2020-02-02"}}, {"enabled"}),
        ({"decoding": {"call_top_k": 7}}, {"enabled"}),
        ({"decoding": {"min_call_probability": 0.2}}, {"enabled"}),
        ({"execution": {"max_result_tokens": 7}}, {"disabled", "enabled"}),
        ({"execution": {"deadline_seconds": 7}}, {"enabled"}),
        ({"evaluation": {"items": 7, "dateset_items": 7}}, set()),
        ({"decoding": {"max_new_tokens": 7}}, set()),
        ({"execution": {"attempts": 7, "leak_share": 0.7}}, set()),
    ],
)
def test_a_mode_depends_on_what_it_reads_alone(changes: dict, concerned: set[str]):
    before, after = evaluated(), evaluated(changes)
    assert {name for name in before if before[name] != after[name]} == concerned


def test_the_date_that_a_chat_template_tells_counts_without_calls_too():
    before, after = (
        evaluated({"evaluation": {"form": "chat", "today": today}})
        for today in ("2020-02-02", "2021-01-01")
    )
    assert before["disabled"] != after["disabled"]
    assert before["perplexity"] == after["perplexity"]

"""`toolformer explain`: one call of a small build, from its text to its tokens."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from dagster_project.cli import main
from dagster_project.commands.build import build_dataset
from dagster_project.commands.options import RunOptions
from tests.fakes import save_tiny_model
from tests.warehouse.rows import SHARD, frame
from toolformer.base.digests import hex_digest
from toolformer.home.fingerprints import FINGERPRINT, PARTS
from toolformer.home.home import Home
from toolformer.home.wiring.model_holder import ModelHolder
from toolformer.home.wiring.workspace import open_warehouse
from tools.prompting import load_short_prompt
from warehouse.warehouse import Warehouse

# Seconds in all; `make test-fast` leaves them out.
pytestmark = pytest.mark.slow

TOOL = "Calendar"
TEXTS = (
    ("Snow is expected tomorrow, the town said.", "https://a.org/2024/01/08/snow"),
    ("The fair ends on Sunday at noon.", "https://a.org/2024/05/03/fair"),
    ("It was built in 2016, [sic] and burnt in 2018.", "https://a.org/2023/11/20/mill"),
)
SETTINGS = """
language_model: {{path: {folder}/model, precision: float32}}
corpus:
  sources: [{{path: {folder}/texts.jsonl, shard_size: 3}}]
  window_tokens: 64
scoring: {{chance_calls: 200, lowest_threshold: 0.05{scoring}}}
tools:
  Calendar:
    prompt: short
    sampling_threshold: 0
    positions_per_text: 8
    filtering_threshold: 0.05
"""


def made_home(folder: Path, *, scoring: str = "") -> Home:
    """A home whose only shard is built, with a tiny model."""
    home = Home(folder / "home")
    home.root.mkdir(parents=True)
    home.settings_file.write_text(SETTINGS.format(folder=folder, scoring=scoring))
    lines = [json.dumps({"text": text, "url": url}) for text, url in TEXTS]
    (folder / "texts.jsonl").write_text("\n".join(lines))
    # A letter is a token, and a prompt has hundreds.
    save_tiny_model(folder / "model", context_length=2048)
    with in_home(home):
        build_dataset(RunOptions.of(None, tools=[TOOL]))
    return home


@contextmanager
def in_home(home: Home) -> Iterator[None]:
    """Commands inside the block work in this home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOOLFORMER_HOME", str(home.root))
        patch.setenv("DAGSTER_HOME", str(home.dagster))
        yield


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Home:
    return made_home(tmp_path_factory.mktemp("prefix"))


@pytest.fixture(scope="module")
def built_inline(tmp_path_factory) -> Home:
    changes = ", placement: inline, window_tokens: 9, window_weights: uniform"
    return made_home(tmp_path_factory.mktemp("inline"), scoring=changes)


@dataclass(frozen=True)
class Explained:
    """What the command did in a home."""

    home: Home
    capture: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        # What a build printed before.
        self.capture.readouterr()
        with in_home(self.home), pytest.raises(SystemExit) as exited:
            main(["explain", *arguments])
        return int(exited.value.code or 0), *self.capture.readouterr()  # type: ignore[arg-type]

    def fields(self, *arguments: str) -> dict[str, Any]:
        code, out, err = self(*arguments, "--json")
        assert code == 0, err
        return json.loads(out)

    @property
    def warehouse(self) -> Warehouse:
        return open_warehouse(self.home)

    def calls(self, condition: str = "true") -> pl.DataFrame:
        sql = f"select * from filtered_calls where {condition} order by call_id"
        return self.warehouse.query(sql)


@pytest.fixture
def explained(built: Home, capsys) -> Explained:
    return Explained(built, capsys)


@pytest.fixture
def own_copy(built: Home, tmp_path, capsys) -> Explained:
    """A home that a test may change."""
    shutil.copytree(built.root.parent, tmp_path / "copy")
    home = Home(tmp_path / "copy" / "home")
    text = home.settings_file.read_text()
    home.settings_file.write_text(text.replace(str(built.root.parent), str(home.root.parent)))
    return Explained(home, capsys)


@pytest.fixture
def no_model(monkeypatch) -> Iterator[None]:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a model is loaded")

    with monkeypatch.context() as patch:
        patch.setattr(ModelHolder, "_loaded", refuse)
        yield


@pytest.mark.parametrize("placement", ["prefix", "inline"])
def test_the_losses_computed_again_are_those_of_the_build(placement: str, request, capsys):
    name = {"prefix": "built", "inline": "built_inline"}[placement]
    explained = Explained(request.getfixturevalue(name), capsys)
    calls = explained.calls()
    assert {True, False} == set(calls["is_kept"])
    shown = pl.concat([calls.filter("is_kept").head(1), calls.filter(~pl.col("is_kept")).head(1)])
    for row in shown.iter_rows(named=True):
        fields = explained.fields(row["call_id"])
        again = fields["recomputation"]
        assert again["placement"] == placement
        for loss in ("loss_without_call", "loss_with_result", "loss_call_without_result"):
            if row[loss] is not None:
                assert again["losses"][loss] == pytest.approx(row[loss], abs=1e-4)
        assert again["largest_difference"] < 1e-4
        if row["loss_call_without_result"] is not None:
            assert sum(again["gains"]) == pytest.approx(row["loss_reduction"], abs=1e-4)
        weighted = [token["weight"] * -token["with_result"] for token in again["tokens"]]
        assert sum(weighted) == pytest.approx(again["losses"]["loss_with_result"])
        behind = "".join(token["text"] for token in again["tokens"])
        assert fields["text"] in dict(TEXTS)
        assert fields["text"][fields["character_offset"] :].startswith(behind)


def test_a_kept_call_is_shown_in_its_text_with_all_that_led_to_it(explained: Explained):
    call_id = explained.calls("is_kept")["call_id"][0]
    code, out, err = explained(call_id)
    assert code == 0, err
    fields = explained.fields(call_id)
    call = f" [Calendar() -> {fields['result']}]"
    text, offset = fields["text"], fields["character_offset"]
    assert f"{text[:offset]}{call}{text[offset:]}" in out
    for part in (
        f"Call {call_id}",
        "Calendar, round 1",
        f"{fields['document_id']} of {SHARD}",
        f"token {fields['position']}, character {offset}; p(' [') = ",
        f"L(ε) = {fields['loss_without_call']:.3f}",
        "kept: the reduction reaches the threshold",
        "nats; the threshold is 0.05",
        "from the stored ones, which were computed in float32",
        *(json.dumps(token["text"]) for token in fields["recomputation"]["tokens"]),
    ):
        assert part in out, part


def test_the_provenance_leads_to_model_prompt_and_run(explained: Explained):
    row = explained.calls("is_kept").row(0, named=True)
    provenance = explained.fields(row["call_id"], "--no-model")
    assert provenance["prompt"] == load_short_prompt(TOOL)
    assert provenance["prompt_digest"] == hex_digest(provenance["prompt"])
    assert len({provenance[f"{name}_run"] for name in ("sampling", "execution", "decision")}) == 1
    assert provenance["sampling_run"]
    assert json.loads(provenance["scoring_parts"])["corpus.window_tokens"] == "64"
    assert json.loads(provenance["decision_parts"])[f"tools.{TOOL}.filtering_threshold"] == "0.05"
    # One prompt, however many shards and tools were sampled with it.
    assert explained.warehouse.query("select count(*) as n from prompts").item() == 1


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        (
            {"candidate_calls": {"status": "dropped", "reason": "not_a_call", "arguments": None}},
            "dropped after sampling: not a call",
        ),
        ({"executed_calls": {}}, "executed, not scored yet"),
        (
            {
                "executed_calls": {
                    "status": "failed",
                    "reason": "peeks",
                    "peeks": True,
                    "result": None,
                    "message": "Only appears after the call: 1400.",
                }
            },
            "Only appears after the call: 1400.",
        ),
    ],
)
def test_a_call_is_explained_as_far_as_it_came_without_a_model(
    own_copy: Explained, no_model: None, changes: dict, shown: str
):
    warehouse = own_copy.warehouse
    for table in ("candidate_calls", *changes):
        changed = {"call_id": "mine", "shard": "mine", **changes.get(table, {})}
        rows = frame(table, changed)
        warehouse.replace_partition(table, "mine", "Calculator", rows, metadata={})
    code, out, err = own_copy("mine")
    assert code == 0, err
    assert shown in out
    # Its document is not there, nor any metadata.
    assert "(the text is not stored)" in out
    fields = own_copy.fields("mine")
    assert fields["is_kept"] is False
    assert fields["not_recomputed"] == "it has no losses"


def test_a_reduction_that_is_only_bounded_is_told_as_a_bound(own_copy: Explained):
    pruned = {
        "loss_call_without_result": None,
        "loss_reduction": 0.03,
        "is_kept": False,
        "reason": "bound_below_lowest_threshold",
    }
    for table in ("candidate_calls", "executed_calls", "filtered_calls"):
        changed = {"call_id": "mine", "shard": "mine", **(pruned if "filt" in table else {})}
        own_copy.warehouse.replace_partition(
            table, "mine", "Calculator", frame(table, changed), metadata={}
        )
    code, out, err = own_copy("mine", "--no-model")
    assert code == 0, err
    assert "at most 0.030 nats; the threshold is 1" in out
    kept = own_copy.calls("is_kept and tool = 'Calendar'")["call_id"][0]
    assert "at most" not in own_copy(kept, "--no-model")[1]


def test_another_model_or_text_is_told_and_the_rest_is_shown(own_copy: Explained):
    call_id = own_copy.calls("is_kept")["call_id"][0]
    config = own_copy.home.root.parent / "model" / "config.json"
    before = config.read_text()
    config.write_text(before + " ")
    code, out, _ = own_copy(call_id)
    assert code == 0
    assert "kept: the reduction reaches" in out
    assert "The losses were not recomputed. The model that scored this call (" in out
    # It lies elsewhere by now.
    shutil.copytree(config.parent, own_copy.home.models / "moved", dirs_exist_ok=True)
    (own_copy.home.models / "moved" / "config.json").write_text(before)
    assert own_copy.fields(call_id)["recomputation"]["model"].endswith("models/moved")
    warehouse = own_copy.warehouse
    texts = warehouse.read_partition("documents", SHARD, "all")
    metadata = warehouse.partition_metadata("documents", SHARD, "all") or {}
    assert {FINGERPRINT, PARTS} <= metadata.keys()
    changed = texts.with_columns(text=pl.lit("Off."))
    warehouse.replace_partition("documents", SHARD, "all", changed, metadata=metadata)
    assert "is not at the position of the call" in own_copy.fields(call_id)["not_recomputed"]

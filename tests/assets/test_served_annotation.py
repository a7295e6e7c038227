"""A build whose model a server runs: the rows of the same model on this machine."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.assets.conftest import MakeHome, PipelineHome, refuse_models
from tests.toolformer.served.fake_server import FakeServer, serving
from toolformer.errors import ServedModelError
from toolformer.forward.checkpoint import Checkpoint
from toolformer.forward.language_model import LanguageModel
from toolformer.home.expected_errors import RunFailedError
from toolformer.settings.sections import merged

pytestmark = pytest.mark.slow
# Its calls have nothing to sample: the places and losses decide.
TOOL = "Calendar"
LOSSES = ("loss_without_call", "loss_call_without_result", "loss_with_result")


@pytest.fixture(scope="module")
def local_home(tmp_path_factory, pipeline_settings) -> PipelineHome:
    made = PipelineHome(tmp_path_factory.mktemp("local") / "home")
    changes = {name: {"is_enabled": name == TOOL} for name in ("WikiSearch", "Calculator", TOOL)}
    made.write_settings(merged(pipeline_settings, {"tools": changes}))
    made.build()
    return made


@pytest.fixture(scope="module")
def calling(calling_model: Path) -> LanguageModel:
    return LanguageModel.load(calling_model, device="cpu")


@pytest.fixture
def tokenizer_folder(tmp_path, calling_model: Path) -> Path:
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    for file in calling_model.glob("tokenizer*.json"):
        shutil.copy(file, folder)
    return folder


def name_server(home: PipelineHome, fake: FakeServer, folder: Path) -> None:
    server = {"url": fake.url, "model": "tiny"}
    home.change_settings({"language_model": {"path": str(folder), "server": server}})


def annotate(home: PipelineHome, fake: FakeServer, folder: Path) -> None:
    name_server(home, fake, folder)
    home.build()


# While calls are sampled and scored: a full server, cut connections.
FAILING = {10: 429, 11: 0, 12: 503, 20: 0, 21: 0, 30: 429}


def test_served_build_has_the_local_rows_and_another_address_changes_none(
    local_home: PipelineHome,
    copy_of: MakeHome,
    calling: LanguageModel,
    tokenizer_folder: Path,
    monkeypatch,
):
    home = copy_of(local_home)
    refuse_models(monkeypatch)
    with serving(calling, failing=dict(FAILING)) as fake:
        annotate(home, fake, tokenizer_folder)
        made = home.partition_states()
        assert not fake.failing
    ours, theirs = local_home.rows("scored_calls"), home.rows("scored_calls")
    assert not ours.is_empty()
    assert theirs["call_id"].to_list() == ours["call_id"].to_list()
    for name in LOSSES:
        assert theirs[name].to_list() == pytest.approx(ours[name].to_list(), abs=1e-4)
    assert set(theirs["precision"]) == {"unknown"}
    costs = home.warehouse.query("select distinct model from stage_costs where tokens_fed > 0")
    assert costs.rows() == [("tiny",)]
    with serving(calling) as fake:
        annotate(home, fake, tokenizer_folder)
        assert not fake.bodies
    assert home.partition_states() == made


def test_what_needs_weights_says_so_where_a_server_has_them(
    local_home: PipelineHome, copy_of: MakeHome, calling: LanguageModel, tokenizer_folder: Path
):
    home = copy_of(local_home)
    with serving(calling) as fake:
        name_server(home, fake, tokenizer_folder)
        with pytest.raises(Exception, match="Training needs the model on this machine"):
            home.train(overrides={"training": {"steps": 2, "min_texts": 1}})


def test_key_that_stands_in_no_variable_is_asked_for(
    local_home: PipelineHome, copy_of: MakeHome, calling: LanguageModel, tokenizer_folder: Path
):
    home = copy_of(local_home)
    changes = {"language_model": {"server": {"key_variable": "NOWHERE_TO_BE_FOUND"}}}
    home.change_settings(changes)
    with serving(calling) as fake, pytest.raises(ServedModelError, match="NOWHERE_TO_BE_FOUND"):
        annotate(home, fake, tokenizer_folder)


def test_model_that_is_replaced_in_mid_build_leaves_no_rows_under_the_first_ones_name(
    local_home: PipelineHome,
    copy_of: MakeHome,
    calling: LanguageModel,
    tokenizer_folder: Path,
    monkeypatch,
):
    home, answer = copy_of(local_home), FakeServer.answer
    before = home.partition_states()

    def answer_as_another(fake: FakeServer, body: Mapping[str, Any]) -> dict[str, Any]:
        # From the first request of sampling on; the handshake has five.
        if fake.asked > 5:
            fake.card["root"] = "second"
        return answer(fake, body)

    monkeypatch.setattr(FakeServer, "answer", answer_as_another)
    with serving(calling, card={"root": "first"}) as fake:
        with pytest.raises(RunFailedError, match="was replaced after this run began"):
            annotate(home, fake, tokenizer_folder)
        assert fake.asked > 5
        assert home.partition_states() == before
        home.build()
    assert home.partition_states().keys() == before.keys()
    assert not set(home.partition_states().values()) & {
        state for name, state in before.items() if name.startswith(("candidate", "scored"))
    }


def test_what_another_model_answered_before_a_run_ended_is_not_gone_on_with(
    local_home: PipelineHome,
    copy_of: MakeHome,
    calling: LanguageModel,
    tokenizer_folder: Path,
    monkeypatch,
):
    home, read, store = copy_of(local_home), FakeServer._log_probabilities, Checkpoint.store

    def read_as_either(fake: FakeServer, row: list[int]) -> torch.Tensor:
        scores = read(fake, row)
        return (scores / 2).log_softmax(dim=-1) if fake.card["root"] == "second" else scores

    with serving(calling, card={"root": "first"}) as fake, monkeypatch.context() as patch:

        def store_and_replace(checkpoint: Checkpoint, name: str, result: object) -> object:
            stored = store(checkpoint, name, result)
            if name.startswith("sampled-0"):
                if fake.card["root"] == "second":
                    fake.faults.add("error_inside")
                fake.card["root"] = "second"
            return stored

        patch.setattr(FakeServer, "_log_probabilities", read_as_either)
        patch.setattr(Checkpoint, "store", store_and_replace)
        with pytest.raises(RunFailedError):
            annotate(home, fake, tokenizer_folder)
    # What the first one has done is gone on with.
    assert list(home.home.checkpoints.rglob("sampled-0*.json"))
    with serving(calling, card={"root": "first"}) as fake:
        annotate(home, fake, tokenizer_folder)
    ours, theirs = local_home.rows("candidate_calls"), home.rows("candidate_calls")
    assert theirs["call_id"].to_list() == ours["call_id"].to_list()
    probabilities = (each["call_probability"].to_list() for each in (ours, theirs))
    assert next(probabilities) == pytest.approx(next(probabilities), rel=1e-4)

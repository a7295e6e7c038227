"""The served model of a home, and its identity."""

import contextlib
import json
from functools import partial
from pathlib import Path

import pytest

from dagster_project.commands.complete import live_model
from tests.fakes import decoding_with, save_tiny_model, tiny_model
from tests.toolformer.served.fake_server import FakeServer, serving
from toolformer.decoding.decoder import complete
from toolformer.errors import ModelNotFoundError
from toolformer.forward.language_model import LanguageModel
from toolformer.forward.tokenization import load_tokenizer
from toolformer.home.home import Home
from toolformer.home.wiring.model_holder import ModelHolder
from toolformer.home.wiring.models import Annotator, evaluated_model
from toolformer.home.wiring.served import open_served, served_identity
from toolformer.home.wiring.toolbox import open_reader
from toolformer.home.wiring.workspace import Workspace
from toolformer.settings.sections import Settings, merged, validated
from toolformer.settings.settings_file import preset_values
from tools.model_identity import model_identity
from tools.retrieval.passages import Passage, RankedPassage

TINY = tiny_model(context_length=2048)


@pytest.fixture
def folder(tmp_path) -> Path:
    """The tokenizer alone."""
    TINY.tokenizer.backend.save_pretrained(tmp_path)
    return tmp_path


def settings_of(fake: FakeServer, folder: Path) -> Settings:
    model = {"path": str(folder), "server": {"url": fake.url, "model": "tiny"}}
    return validated(merged(preset_values("paper"), {"language_model": model}), origin="")


def identity(folder: Path, **card: str) -> str:
    with serving(TINY, card=card) as fake:
        return Annotator.of(Workspace(settings_of(fake, folder), Home(folder))).identity


def test_address_is_no_part_of_the_model_and_what_the_server_says_of_it_is(folder: Path):
    assert identity(folder) == identity(folder)
    others = [identity(folder, root="other"), identity(folder, dtype="float16")]
    assert len({identity(folder), *others}) == 3
    (folder / "tokenizer.json").write_text("{}")
    assert identity(folder) not in others


def test_files_that_a_tokenizer_is_read_from_are_part_of_the_model(folder: Path):
    (folder / "tokenizer.json").unlink()
    (folder / "merges.txt").write_text("o ne")
    before = identity(folder)
    (folder / "merges.txt").write_text("on e")
    assert identity(folder) != before


def test_files_that_name_the_special_tokens_are_part_of_the_model(folder: Path):
    known = [identity(folder)]
    for file, content in {
        "special_tokens_map.json": {"bos_token": "a"},
        "added_tokens.json": {"<x>": TINY.tokenizer.vocabulary_size},
    }.items():
        (folder / file).write_text(json.dumps(content))
        known.append(identity(folder))
    # They are read beside a whole tokenizer, too.
    assert load_tokenizer(folder).backend.bos_token == "a"
    assert len({*known}) == 3


def test_texts_of_a_served_model_end_as_its_generation_config_says_beside_the_tokenizer(
    folder: Path, tmp_path_factory
):
    before = identity(folder)
    ends = json.dumps({"eos_token_id": [1, 7]})
    (folder / "generation_config.json").write_text(ends)
    assert identity(folder) != before
    local = save_tiny_model(tmp_path_factory.mktemp("model"), context_length=2048)
    (local / "generation_config.json").write_text(ends)
    with serving(TINY) as fake:
        with contextlib.closing(
            open_served(settings_of(fake, folder).language_model, folder)
        ) as model:
            assert model.end_ids == LanguageModel.load(local, device="cpu").end_ids == {0, 1, 7}
        (folder / "generation_config.json").write_text('{"eos_token_id": "</s>"}')
        with pytest.raises(ModelNotFoundError, match=r"eos_token_id is '</s>'.*Expected"):
            open_served(settings_of(fake, folder).language_model, folder)


def test_a_served_model_is_opened_anew_where_server_or_tokenizer_have_another(folder: Path):
    holder = ModelHolder()
    with serving(TINY) as fake:
        settings = settings_of(fake, folder)
        first = holder.load_served(folder, settings.language_model)
        assert holder.load_served(folder, settings.language_model) is first
        (folder / "generation_config.json").write_text('{"eos_token_id": 7}')
        second = holder.load_served(folder, settings.language_model)
        assert second.end_ids == {0, 1, 7}
        fake.card["dtype"] = "float16"
        assert holder.load_served(folder, settings.language_model).precision == "float16"
        holder.release()


@pytest.fixture(params=["tokenizer", "tokenizer and weights"])
def base(request, folder: Path) -> Path:
    """The directory of a base model that a server runs."""
    if request.param != "tokenizer":
        # Of a model that cannot be loaded, so whoever does not ask the server fails.
        (folder / "model.safetensors").write_bytes(b"weights")
        (folder / "config.json").write_text("{}")
    return folder


def test_base_model_is_the_served_one_whoever_asks_for_it(base: Path):
    home = Home(base)

    def identities(settings: Settings) -> list[str]:
        live = live_model(Workspace(settings, home), model_name="base", with_tools=False)
        with live as opened:
            completing = opened.location.identity(settings)
        return [
            Annotator.of(Workspace(settings, home)).identity,
            evaluated_model("base", Workspace(settings, home)).identity(settings),
            completing,
            open_reader(Workspace(settings, home, ModelHolder())).version().rpartition("model=")[2],
        ]

    with serving(TINY) as fake, serving(TINY, card={"root": "other"}) as other:
        settings = settings_of(fake, base)
        assert set(identities(settings)) == {served_identity(settings.language_model.server, base)}
        # Another model behind the same settings makes stale what either of them answered.
        assert not set(identities(settings)) & set(identities(settings_of(other, base)))
        if (base / "model.safetensors").exists():
            here = merged(settings.model_dump(), {"language_model": {"server": {"url": None}}})
            local = identities(validated(here, origin=""))
            assert local == [model_identity(base)] * 3 + [f"{model_identity(base)} auto"]
            assert not set(local) & set(identities(settings))


def test_base_model_decodes_where_its_server_is(base: Path):
    with serving(TINY) as fake:
        settings, home = settings_of(fake, base), Home(base)
        decoded = partial(
            complete,
            prompts=["The mill"],
            decoding=decoding_with(tools=(), max_new_tokens=5),
            run_calls=lambda _: [],
        )
        with live_model(Workspace(settings, home), model_name="base", with_tools=False) as live:
            (theirs,) = decoded(live.load())
    (ours,) = decoded(TINY)
    assert theirs.token_ids == ours.token_ids
    assert theirs.stopped_by == ours.stopped_by


def test_passages_are_read_by_the_served_model(base: Path):
    holder = ModelHolder()
    passage = RankedPassage(Passage("0", "Suez", "", "It opened in 1869.", ""), 0.0)
    with serving(TINY) as fake:
        settings = settings_of(fake, base)
        open_reader(Workspace(settings, Home(base), holder)).read([("when?", [passage])])
        assert holder.load_served(base, settings.language_model).tokens_fed > 0
        assert holder.loads == 0
        holder.release()


def test_another_server_in_the_settings_is_asked_from_then_on(folder: Path):
    holder = ModelHolder()
    with serving(TINY) as one, serving(TINY) as other:
        first = holder.load_served(folder, settings_of(one, folder).language_model)
        assert holder.load_served(folder, settings_of(one, folder).language_model) is first
        assert holder.load_served(folder, settings_of(other, folder).language_model) is not first
        holder.release()

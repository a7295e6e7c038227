"""The model and its controls, really trained: a tiny model, a handful of texts."""

import json
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from tests.fakes import byte_tokenizer, save_tiny_model
from tests.materialising import failure_of, materialise, metadata_of
from tests.warehouse.rows import CALL, new_warehouse, put
from toolformer.forward import precision
from toolformer.forward.chat_template import plain_template
from toolformer.home.fingerprints import Fingerprint
from toolformer.home.home import Home
from toolformer.settings.training_sections import VARIANTS
from tools.model_identity import model_identity
from warehouse.schema import ALL
from warehouse.warehouse import Warehouse

pytestmark = pytest.mark.slow

TEXTS = ["Six and six are twelve of them.", "Out of 1400 people 400 came.", "Two of 8 stayed."]


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny", context_length=256)


@pytest.fixture
def home(tmp_path, monkeypatch) -> Home:
    """Three texts with a kept call each; the last is for development."""
    monkeypatch.setenv("TOOLFORMER_HOME", str(tmp_path))
    home = Home(tmp_path)
    store = new_warehouse(tmp_path)
    rows = [
        {
            "document_id": f"d{number}",
            "text": text,
            "split": "development" if number == 2 else "train",
            "calls": [
                CALL | {"call_id": f"c{number}", "character_offset": 3, "result": f"0.{number}"}
            ],
        }
        for number, text in enumerate(TEXTS)
    ]
    put(store, "training_texts", *rows, fingerprint="x")
    return home


def train(
    base: Path, variant: str, *, force: bool = False, **training: object
) -> dg.ExecuteInProcessResult:
    overrides = {
        "language_model": {"path": str(base), "device": "cpu"},
        "training": {
            "batch_size": 2,
            "epochs": 2,
            "min_texts": 2,
            "max_tokens": 128,
            "precision": "float32",
            **training,
        },
    }
    return materialise(
        "finetuned_model", overrides=overrides, partition=variant, force=force, raise_on_error=False
    )


def test_each_variant_is_a_model_with_its_record_curve_and_card(home: Home, base: Path):
    said = {variant: metadata_of(train(base, variant)) for variant in VARIANTS}
    assert {variant: each["calls"] for variant, each in said.items()} == {
        "calls": {"Calculator": 2},
        "plain": {},
        "shuffled": {"Calculator": 2},
    }
    assert [each["steps"] for each in said.values()] == [2, 2, 2]
    # The same texts: only calls make the difference.
    tokens = {variant: each["tokens"] for variant, each in said.items()}
    assert tokens["calls"] == tokens["shuffled"] > tokens["plain"] == 2 * sum(map(len, TEXTS[:2]))
    bases = {each["development perplexity of the base model"] for each in said.values()}
    assert len(bases) == 1
    for variant, each in said.items():
        folder = home.finetuned_model(1, variant)
        assert json.loads((folder / "toolformer.json").read_text())["facts"]["variant"] == variant
        assert ("It is a control." in (folder / "README.md").read_text()) == (variant != "calls")
        assert each["model card"] == (folder / "README.md").read_text()
    curves = Warehouse(home.warehouse, home.database).read_partitions("training_metrics", ALL)
    by_variant = curves.group_by("variant").agg(pl.col("step").sort())
    assert dict(by_variant.iter_rows()) == {variant: [1, 2] for variant in VARIANTS}
    losses = curves.filter(step=1)["loss"].to_list()
    assert len(set(losses)) == len(VARIANTS)


def test_what_auto_stands_for_is_computed_in_and_makes_no_model_stale(
    home: Home, base: Path, monkeypatch
):
    monkeypatch.setattr(precision, "is_faster_in_bfloat16", lambda: True)
    assert metadata_of(train(base, "calls", precision="auto"))["state"] == "done"
    record = json.loads((home.finetuned_model(1) / "toolformer.json").read_text())
    assert record["precision"] == record["parameters"]["precision"] == "bfloat16"
    monkeypatch.setattr(precision, "is_faster_in_bfloat16", lambda: False)
    assert metadata_of(train(base, "calls", precision="auto"))["state"] == "up to date"


def test_a_learning_rate_that_is_chosen_stands_beside_the_model_and_is_told(home: Home, base: Path):
    said = metadata_of(train(base, "calls", learning_rate="auto"))
    record = json.loads((home.finetuned_model(1) / "toolformer.json").read_text())
    rates = record["learning_rates"]
    assert said["learning rate"] == rates["summary"]
    tried = [trial["learning_rate"] for trial in rates["trials"]]
    assert record["parameters"]["learning_rate"] in tried
    assert metadata_of(train(base, "calls", learning_rate="auto"))["state"] == "up to date"
    assert "learning rate" not in metadata_of(train(base, "calls", learning_rate=1e-4))


def test_where_every_learning_rate_diverges_the_losses_are_told_and_there_is_no_model(
    home: Home, base: Path, monkeypatch
):
    monkeypatch.setattr("toolformer.training.learning_rates.RATES", (1e31, 1e30, 1e29, 1e28))
    told = failure_of(train(base, "calls", learning_rate="auto"))
    assert "Training diverges at every learning rate" in told
    assert "1e+30: not finite" in told
    assert not home.finetuned_model(1).exists()


def test_a_model_that_lost_language_is_told_with_what_to_do(home: Home, base: Path):
    # A rate at which nothing but these texts is left.
    said = metadata_of(train(base, "plain", learning_rate=1.0, evaluations=1))
    assert said["perplexity"].startswith("Perplexity of the development texts without calls rose")
    assert "perplexity" not in metadata_of(train(base, "plain", learning_rate=1e-4))


def test_a_model_made_again_is_the_same_model_however_long_it_took(home: Home, base: Path):
    identities, rates = set(), set()
    for _ in range(3):
        rates.add(metadata_of(train(base, "calls", force=True))["tokens per second"])
        identities.add(model_identity(home.finetuned_model(1)))
    assert len(identities) == 1
    assert len(rates) > 1


def test_scores_of_the_model_before_it_are_said_of_none(home: Home, base: Path):
    store = Warehouse(home.warehouse, home.database)

    def shown() -> dict[str, set[str]]:
        """The models that stand in what is made of scores."""
        of_each = ("evaluation_summary", "evaluation_table", "call_calibration")
        compared = {name: {*store.view(name)["model"]} for name in (*of_each, "score_intervals")}
        for name in ("evaluation_difference", "paired_differences"):
            pairs = store.view(name)
            compared[name] = {*pairs["model"], *pairs["other_model"]}
        return compared

    def train_with(seed: int, variant: str = "calls") -> None:
        assert metadata_of(train(base, variant, seed=seed))["state"]

    train_with(0)
    train_with(0, "plain")
    directories = {"base": base, "finetuned": home.finetuned_model(1)}
    directories["plain"] = home.finetuned_model(1, "plain")
    for model, directory in directories.items():
        parts = {"language_model": [model_identity(directory), None]}
        for benchmark in ("mine", "other"):
            for mode in ("disabled", "enabled"):
                rows = {"benchmark": benchmark, "model": model, "mode": mode}
                name = f"{benchmark}.{model}.{mode}.0000"
                metadata = Fingerprint.of({**parts, "name": name}).metadata()
                put(store, "evaluation_results", rows, name=name, **metadata)
    overrides = {"language_model": {"path": str(base)}}
    materialise("evaluation_report", overrides=overrides)
    before = shown()
    assert {*map(frozenset, before.values())} == {frozenset(directories)}
    train_with(0)
    assert shown() == before
    train_with(1, "plain")
    assert shown() == {name: {"base", "finetuned"} for name in before}
    train_with(1)
    assert shown() == {name: {"base"} for name in before}
    materialise("evaluation_report", overrides=overrides)
    assert shown() == {name: {"base"} for name in before}


def test_a_model_depends_on_the_share_of_chats_and_on_the_template_that_writes_them(
    home: Home, tmp_path
):
    base = save_tiny_model(tmp_path / "tiny", context_length=256)
    template = base / "chat_template.jinja"
    states = []
    for share, text in ((0, "a"), (0, "b"), (1, "b"), (1, "b{{ messages[0].content }}"), (1, None)):
        template.unlink(missing_ok=True) if text is None else template.write_text(text)
        made = train(base, "calls", chat_share=share)
        assert made.success
        states.append(metadata_of(made)["state"])
        # A model that saw no chats in training goes on with what was said.
        own = (home.finetuned_model(1) / "chat_template.jinja").read_text()
        plain = plain_template(byte_tokenizer(), 0)
        assert own == (text if share == 1 and text is not None else plain)
    # Without chats nothing is asked of the template.
    assert states == ["done", "up to date", "done", "done", "done"]


def test_what_a_killed_run_with_another_seed_put_by_goes_once_the_model_is_up_to_date(
    home: Home, base: Path
):
    checkpoint = home.checkpoints / "finetuned_model.toolformer"
    train(base, "calls")
    assert not checkpoint.exists()
    before = model_identity(home.finetuned_model(1))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("toolformer.training.finetuning.load_tokenizer", _killed)
        assert not train(base, "calls", seed=1).success
        # It is gone on with, and stays for that.
        assert not train(base, "calls", seed=1).success
    assert list(checkpoint.rglob("state-*"))
    assert metadata_of(train(base, "calls"))["state"] == "up to date"
    assert not checkpoint.exists()
    assert model_identity(home.finetuned_model(1)) == before


def _killed(_folder: Path) -> None:
    raise OSError("killed")


def test_too_few_texts_are_refused_unless_it_is_forced(home: Home, base: Path):
    told = failure_of(train(base, "calls", min_texts=3))
    assert "has 2 texts" in told
    assert "Expected at least 3 (training.min_texts)" in told
    assert "--force" in told
    assert not home.finetuned_model(1).exists()
    assert metadata_of(train(base, "calls", min_texts=3, force=True))["state"] == "done"


def test_the_rows_of_the_training_set_are_read_once_and_only_where_a_model_is_made(
    home: Home, base: Path, monkeypatch
):
    read: list[str] = []
    genuine = Warehouse.read_partition

    def counted(self: Warehouse, table: str, shard: str, name: str) -> pl.DataFrame:
        read.append(table)
        return genuine(self, table, shard, name)

    monkeypatch.setattr(Warehouse, "read_partition", counted)
    assert metadata_of(train(base, "calls"))["state"] == "done"
    assert read.count("training_texts") == 1
    assert metadata_of(train(base, "calls"))["state"] == "up to date"
    assert read.count("training_texts") == 1


def test_a_training_set_without_a_text_to_train_on_is_refused_with_the_reasons(
    home: Home, base: Path
):
    store = Warehouse(home.warehouse, home.database)
    held_back = {
        "text": TEXTS[0],
        "calls": [CALL | {"character_offset": 3}],
        "split": "development",
    }
    put(store, "training_texts", held_back, fingerprint="y", **{"left out: duplicate": "7"})
    told = failure_of(train(base, "calls", min_texts=1))
    assert "holds no text to train on (left out: duplicate 7)" in told

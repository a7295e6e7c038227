"""What is trained on besides C*, what is left out of it, and the record of that."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from assets.inputs import merged_part
from assets.training import training_inputs, training_set
from assets.training.benchmark_texts import benchmark_texts
from tests.fakes import save_tiny_model
from tests.materialising import materialise, metadata_of
from tests.warehouse.rows import CALL, SHARD, new_warehouse, put, put_calls
from toolformer.evaluation.benchmarks.dateset import Dateset
from toolformer.home.fingerprints import Fingerprint
from toolformer.home.resources.settings import SettingsResource
from toolformer.settings.evaluation_sections import EMBEDDED_BENCHMARKS
from toolformer.training.shared_words import words_of
from warehouse.schema import ALL

HELD_OUT = "shard-00009"
TOOL = "Calculator"
DECIDED = {f"filtered_calls of {SHARD}, {TOOL}": "decided"}
EXCLUDED = ["document_id", "reason", "held_out_set", "other_document_id"]


def sentence(number: int) -> str:
    """Thirty words that no other sentence has."""
    return " ".join(f"word{number}x{place}" for place in range(30))


WITH = {f"c{number}": sentence(number) for number in range(6)}
WITHOUT = {f"p{number}": sentence(10 + number) for number in range(8)}


class Home:
    """A shard of documents of one window each; some have a kept call."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.warehouse = new_warehouse(folder)

    def write(self, texts: Mapping[str, str], *, without_calls: Mapping[str, str] = {}) -> None:
        """Documents of the shard with a kept call in each, and such without."""
        self.put_documents(SHARD, {**texts, **without_calls})
        self.augment(texts)

    def put_documents(self, shard: str, texts: Mapping[str, str]) -> None:
        rows = [
            {"document_id": key, "text": text, "source_offset": number}
            for number, (key, text) in enumerate(texts.items())
        ]
        fingerprint = f"{shard} {sorted(texts)}"
        put(self.warehouse, "documents", *rows, shard=shard, fingerprint=fingerprint)

    def augment(self, texts: Mapping[str, str]) -> None:
        """C* as the stage before stores it."""
        rows = [
            {"document_id": key, "text": text, "calls": [CALL | {"call_id": f"{key} kept"}]}
            for key, text in texts.items()
        ]
        merged = Fingerprint.of({merged_part("filtered_calls", TOOL): "decided"}).metadata()
        put(self.warehouse, "augmented_texts", *rows, **merged, made_from=json.dumps(DECIDED))

    def train_on(self, *, benchmarks: tuple[str, ...] = ("perplexity",), **training: Any) -> dict:
        """Make the training set; its metadata."""
        overrides = {
            "language_model": {"path": str(self.folder / "model")},
            "corpus": {"window_tokens": 512},
            "training": {"near_duplicate_similarity": None, "development_share": 0, **training},
            "evaluation": {"benchmarks": list(benchmarks)},
        }
        return metadata_of(materialise("training_set", overrides=overrides))

    def texts(self) -> pl.DataFrame:
        return self.warehouse.read_partition("training_texts", ALL, ALL)

    def exclusions(self) -> pl.DataFrame:
        return self.warehouse.read_partition("training_exclusions", ALL, ALL)

    def version(self, table: str) -> str:
        found = self.warehouse.partition_version(table, ALL, ALL)
        assert found is not None
        return found[0]


@pytest.fixture
def home(tmp_path, monkeypatch) -> Home:
    monkeypatch.setenv("TOOLFORMER_HOME", str(tmp_path))
    shards = ([SHARD], [HELD_OUT])
    monkeypatch.setattr(training_inputs, "training_and_held_out_shards", lambda _: shards)
    # The model directory of the settings, for its tokenizer of bytes.
    save_tiny_model(tmp_path / "model")
    return Home(tmp_path)


def test_every_text_that_is_left_out_is_named_with_what_it_shares(home: Home):
    question = max((item.bare_texts[0] for item in Dateset(seed=0).items()), key=len)
    home.put_documents(HELD_OUT, {"h1": sentence(7)})
    home.write(
        {
            "a": sentence(1),
            "b": sentence(2),
            "copy": f"  {sentence(1)}",
            "near": f"{sentence(2)} and so on",
            "of the future": f"So they say: {sentence(7)}.",
            "of a benchmark": question,
            "over": sentence(3),
        }
    )
    metadata = home.train_on(
        benchmarks=("dateset",), near_duplicate_similarity=0.8, max_texts_per_tool=2
    )
    over_cap = set("ab") - set(home.texts()["document_id"]) or {"over"}
    found = home.exclusions().sort("document_id")
    assert sorted(found.select(EXCLUDED).rows()) == sorted(
        [
            ("copy", "duplicate_text", None, "a"),
            ("near", "near_duplicate", None, "b"),
            ("of the future", "shares_ngram", "held_out_shards", None),
            ("of a benchmark", "shares_ngram", "dateset", None),
            *((key, "over_cap", None, None) for key in over_cap),
        ]
    )
    near = found.row(by_predicate=pl.col("document_id") == "near", named=True)
    assert near["similarity"] == 26 / 29
    assert (near["calls"], near["round"], near["shard"]) == (1, 1, SHARD)
    shared = dict(found.select("document_id", "shared_ngram").drop_nulls().iter_rows())
    assert shared["of the future"] == " ".join(sentence(7).split()[:13])
    assert shared["of a benchmark"] in " ".join(words_of(question))
    assert metadata["left out: shares_ngram_with_dateset"] == 1
    assert metadata["left out: over_cap"] == 1
    assert r"| near\_duplicate | – | 1 |" in metadata["exclusions"]


def test_texts_of_a_benchmark_are_left_out_where_it_is_configured(home: Home):
    question = max((item.bare_texts[0] for item in Dateset(seed=0).items()), key=len)
    home.write({"a": sentence(1), "b": question})
    assert home.train_on(benchmarks=("perplexity",))["train texts"] == 2
    again = home.train_on(benchmarks=("perplexity", "dateset"))
    assert (again["state"], again["train texts"]) == ("done", 1)
    assert again["benchmarks"] == "perplexity, dateset"


def test_every_benchmark_has_its_texts():
    """A new one that is not named there would be trained on."""
    every = list(EMBEDDED_BENCHMARKS)
    chosen = {"evaluation": {"benchmarks": every, "items": 5}}
    texts = benchmark_texts(SettingsResource(overrides=chosen).load())
    counts = {name: sum(1 for _ in of_benchmark.read()) for name, of_benchmark in texts.items()}
    # All that can be asked, however many are.
    assert counts == {"perplexity": 0, "dateset": 9_400, "sums": 40, "facts": 40}


def test_exclusions_that_were_lost_are_made_again_with_the_texts(home: Home):
    home.write({"a": sentence(1), "copy": f"{sentence(1)} "})
    home.train_on()
    texts, kept = home.texts(), home.exclusions()
    exclusions = home.version("training_exclusions")
    assert home.train_on()["state"] == "up to date"
    assert home.version("training_exclusions") == exclusions
    [info] = home.warehouse.partitions("training_exclusions")
    info.path.unlink()
    assert home.train_on()["state"] == "done"
    assert home.exclusions().equals(kept)
    assert home.texts().equals(texts)


def test_no_calls_are_read_but_those_of_c_star(home: Home):
    """Another build may be making them anew."""
    home.write({"a": sentence(1)})
    assert home.train_on()["calls"] == 1
    stored = home.warehouse.partition_metadata("training_texts", ALL, ALL) or {}
    # What C* was made from, and C*.
    assert {*json.loads(stored["made_from"])} == {*DECIDED, f"augmented_texts of {SHARD}, {ALL}"}
    assert not any("calls" in name for name in json.loads(stored["parts"]))
    put_calls(home.warehouse, fingerprint="another")
    assert home.train_on()["state"] == "up to date"
    assert home.train_on(seed=1)["state"] == "done"


def test_c_star_that_is_replaced_meanwhile_makes_it_fail(home: Home, monkeypatch):
    home.write({"a": sentence(1)})
    choose = training_set.choose_texts

    def choose_meanwhile(*arguments):
        home.augment({"a": sentence(1)})
        return choose(*arguments)

    monkeypatch.setattr(training_set, "choose_texts", choose_meanwhile)
    with pytest.raises(dg.Failure, match=f"augmented_texts of {SHARD}, all was replaced"):
        home.train_on()
    assert home.warehouse.partition_metadata("training_texts", ALL, ALL) is None


def test_plain_windows_are_the_share_that_is_asked_for(home: Home):
    home.write(WITH, without_calls=WITHOUT)
    metadata = home.train_on(plain_share=0.4)
    assert metadata["plain texts"] == "4"
    rows = home.texts()
    plain = rows.filter(pl.col("calls").list.len() == 0)
    assert (rows.height, plain.height) == (10, 4)
    assert set(plain["document_id"]) <= set(WITHOUT)
    assert dict(plain.select("document_id", "text").iter_rows()).items() <= WITHOUT.items()
    assert home.train_on(plain_share=0.4)["state"] == "up to date"
    assert home.train_on(plain_share=0.4, seed=1)["state"] == "done"
    other = home.texts().filter(pl.col("calls").list.len() == 0)
    assert set(other["document_id"]) != set(plain["document_id"])


def test_plain_windows_are_clean_and_no_copies(home: Home):
    home.put_documents(HELD_OUT, {"h": sentence(90)})
    bad = {"p copy": f"{sentence(1)} ", "p held out": f"Well: {sentence(90)}"}
    home.write(WITH, without_calls={**WITHOUT, **bad})
    assert home.train_on(plain_share=0.9)["plain texts"] == "8 of 54"
    found = home.exclusions().select("document_id", "reason", "calls").rows()
    assert sorted(found) == [("p copy", "duplicate_text", 0), ("p held out", "shares_ngram", 0)]


def test_another_text_of_a_held_out_shard_makes_the_training_set_anew(home: Home):
    home.put_documents(HELD_OUT, {"h": sentence(90)})
    home.write(WITH)
    home.train_on()
    home.put_documents(HELD_OUT, {"other": sentence(2)})
    assert home.train_on()["state"] == "done"
    assert home.exclusions()["document_id"].to_list() == ["c2"]


def test_documents_of_plain_windows_are_inputs(home: Home):
    home.write(WITH, without_calls=WITHOUT)
    home.train_on(plain_share=0.4)
    stored = home.warehouse.partition_metadata("training_texts", ALL, ALL) or {}
    assert f"documents of {SHARD}, {ALL}" in json.loads(stored["made_from"])
    home.put_documents(SHARD, {**WITH, **WITHOUT, "p9": sentence(40)})
    assert home.train_on(plain_share=0.4)["state"] == "done"


def test_windows_that_were_cut_in_another_way_are_refused(home: Home):
    home.write(WITH, without_calls=WITHOUT)
    home.augment({key: text[:100] for key, text in WITH.items()})
    with pytest.raises(dg.Failure, match=r"same base model and corpus\.window_tokens.*plain_share"):
        home.train_on(plain_share=0.4)

"""A column of a source that is not annotated, from its file to the rows of training."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets.corpus import configured_sources
from assets.training.planned_training import planned_training
from assets.training.training_set import training_set
from dagster_project.definitions import definitions
from tests.corpora import cut_corpus
from tests.fakes import byte_tokenizer, save_tiny_model
from tests.homes import SmallHome, write_lines
from tests.warehouse.rows import CALL, CALL_TABLES, put, put_calls
from toolformer.home.partitions import register_shards
from toolformer.home.resources.settings import SettingsResource
from toolformer.home.wiring.workspace import Workspace
from toolformer.settings.training_sections import VARIANTS
from toolformer.sources.manifest import Manifest
from toolformer.sources.records import document_id
from warehouse.schema import ALL

TRAINED, HELD_OUT = "shard-00000", "shard-00001"
QUESTION = "How many are they, who came to the market with six of the seven wives?"
LONG = "one two three four five six seven eight nine ten"
RECORDS = [
    {"question": "What is two and two?", "solution": "2 + 2 = 4."},
    {"question": QUESTION, "solution": "3 + 3 = 6."},
    {"question": "Can you count?", "solution": LONG},
    {"question": "", "solution": "No question at all."},
    {"solution": "Whatever was asked."},
    # The other shard.
    {"question": QUESTION, "solution": "Nobody knows."},
]
# Of the record the window and its place, and the place of the call in it.
CALLS = [(0, 0, 0, 7), (1, 0, 0, 7), (2, 1, 27, 0)]
SPELLED = " [Calculator(2 + 2) -> 4]"


class ContextHome(SmallHome):
    """A shard to train on and a held-out one, of which each record has a question."""

    def __init__(self, root: Path):
        super().__init__(root / "home")
        self.file = write_lines(root / "problems.jsonl", RECORDS)
        save_tiny_model(root / "model")
        columns = {"text_column": "solution", "context_column": "question"}
        self.overrides: dict[str, Any] = {
            "language_model": {"path": str(root / "model"), "device": "cpu"},
            "corpus": {
                "sources": [{"path": str(self.file), "shard_size": 5, **columns}],
                "held_out_every": 2,
                "window_tokens": 32,
            },
            "training": {"development_share": 0, "plain_share": 0.5},
            "evaluation": {"benchmarks": ["perplexity"]},
        }

    def settings(self, **training: Any) -> SettingsResource:
        of_training = {**self.overrides["training"], **training}
        return SettingsResource(overrides={**self.overrides, "training": of_training})

    def ingest(self, instance: dg.DagsterInstance) -> None:
        sources = configured_sources(self.settings().load(), self.home)
        assert not cut_corpus(self.home, sources, held_out_every=2).rejected_sources
        manifest = Manifest.load(self.home.sources)
        assert [each.key for each in manifest.active_shards if each.is_held_out] == [HELD_OUT]
        register_shards(instance, manifest)

    def make(
        self, asset: dg.AssetsDefinition, instance: dg.DagsterInstance, shard: str | None = None
    ) -> None:
        resources = {**(definitions().resources or {}), "settings": self.settings()}
        dg.materialize([asset], partition_key=shard, instance=instance, resources=resources)

    def id_of(self, record: int) -> str:
        return document_id(str(self.file), record)

    def put_calls(self) -> None:
        """A kept call in each of three texts."""
        calls = [
            {
                "call_id": f"c{record}",
                "document_id": self.id_of(record),
                "window_index": window,
                "position": position,
                "character_offset": start + position,
                "arguments": "2 + 2",
                "result": "4",
            }
            for record, window, start, position in CALLS
        ]
        for table in CALL_TABLES:
            put_calls(self.warehouse, *calls, tables=[table], fingerprint=table)

    def contexts(self, table: str, shard: str) -> dict[str, str | None]:
        """By text what stands in front of it."""
        rows = self.warehouse.read_partition(table, shard, ALL)
        return dict(rows.select("text", "context").iter_rows())


@pytest.fixture
def home(tmp_path, monkeypatch) -> ContextHome:
    made = ContextHome(tmp_path)
    monkeypatch.setenv("TOOLFORMER_HOME", str(made.home.root))
    return made


def test_a_context_is_carried_from_its_source_to_the_rows_of_every_variant(home: ContextHome):
    with dg.DagsterInstance.ephemeral() as instance:
        home.ingest(instance)
        home.put_calls()
        home.make(definitions().get_assets_def("augmented_texts"), instance, TRAINED)
        home.make(training_set, instance)

    records = home.warehouse.read_partition("rejected_records", TRAINED, ALL)
    assert records.select("source_offset", "reason").rows() == [(4, "missing_context")]
    asked = RECORDS[0]["question"]
    assert home.contexts("documents", TRAINED) == {
        "2 + 2 = 4.": asked,
        "3 + 3 = 6.": QUESTION,
        LONG: "Can you count?",
        "No question at all.": None,
    }
    # Of a text of two windows the first has the context.
    assert home.contexts("augmented_texts", TRAINED) == {
        "2 + 2 = 4.": asked,
        "3 + 3 = 6.": QUESTION,
        LONG[27:]: None,
    }
    # The held-out text shares nothing but its question; windows without calls have theirs.
    (excluded,) = home.warehouse.read_partition("training_exclusions", ALL, ALL).iter_rows(
        named=True
    )
    assert (excluded["document_id"], excluded["held_out_set"]) == (home.id_of(1), "held_out_shards")
    assert excluded["shared_ngram"].startswith("how many are they who came to the market")
    assert home.contexts("training_texts", ALL) == {
        "2 + 2 = 4.": asked,
        LONG[:27]: "Can you count?",
        LONG[27:]: None,
        "No question at all.": None,
    }

    tokenizer = byte_tokenizer()
    for variant in VARIANTS:
        loaded = home.settings().load(variant=variant)
        rows = planned_training(Workspace(loaded, home.home)).rows.rows
        call = SPELLED if variant in ("calls", "shuffled") else ""
        assert {tokenizer.decode(list(row.ids)) for row in rows} == {
            f"{asked}\n2 + 2 ={call} 4.",
            f"Can you count?\n{LONG[:27]}",
            f"{call}{LONG[27:]}",
            "No question at all.",
        }


def test_a_share_of_the_texts_are_chats_where_the_model_has_a_template(home: ContextHome, tmp_path):
    calls = [CALL | {"position": 7, "character_offset": 7, "arguments": "2 + 2", "result": "4"}]
    texts = [{"document_id": f"d{at}", "text": "2 + 2 = 4.", "calls": calls} for at in range(8)]
    texts[0]["context"] = "What is 2 + 2?"
    put(home.warehouse, "training_texts", *texts, fingerprint="by hand")

    def planned(**training: Any):
        loaded = home.settings(**training).load()
        return planned_training(Workspace(loaded, home.home))

    assert "chat" not in planned(chat_share=0).summary
    told = planned(chat_share=1).summary
    assert told.endswith(
        "; the model has no chat template that takes a question, so no text is a chat"
    )
    assert planned(chat_share=1).rows == planned(chat_share=0).rows
    (tmp_path / "model" / "chat_template.jinja").write_text(
        "{% for turn in messages %}<|endoftext|>{{ turn.content }}{% endfor %}<|im_end|>"
    )
    for variant in VARIANTS:
        made = planned(chat_share=1, variant=variant)
        assert made.summary.endswith("; 8 of the texts are chats")
        rows = [byte_tokenizer().decode(list(row.ids)) for row in made.rows.rows]
        call = SPELLED if variant in ("calls", "shuffled") else ""
        assert rows[0] == f"What is 2 + 2?<|im_end|>2 + 2 ={call} 4."
        assert all(row.replace("<|im_end|>", "") == f"2 + 2 ={call} 4." for row in rows[1:])
    assert 0 < planned(chat_share=0.5).rows.chats < 8
    # The perplexity that checkpoints are compared by is of plain texts.
    put(
        home.warehouse,
        "training_texts",
        *texts,
        {**texts[0], "document_id": "e", "split": "development"},
        fingerprint="by hand",
    )
    (row,) = planned(chat_share=1).development.without_calls
    assert byte_tokenizer().decode(list(row.ids)) == "What is 2 + 2?\n2 + 2 = 4."


def test_development_texts_with_and_without_calls_have_their_context(home: ContextHome):
    of_development = {"split": "development", "calls": [CALL | {"character_offset": 3}]}
    rows = [
        {"document_id": "a", "text": "abc", "calls": []},
        {"document_id": "b", "text": "2 + 2 = 4.", "context": "What is 2 + 2?", **of_development},
        {"document_id": "c", "text": LONG, **of_development},
    ]
    put(home.warehouse, "training_texts", *rows, fingerprint="by hand")
    loaded = home.settings(max_tokens=51).load()
    development = planned_training(Workspace(loaded, home.home)).development
    decode = byte_tokenizer().decode
    plain = [decode(list(row.ids)) for row in development.without_calls]
    # A long context loses its beginning, a long text its end.
    assert "What is 2 + 2?\n2 + 2 = 4.".endswith(plain[0])
    assert LONG.startswith(plain[1])
    # The rows with calls are full.
    assert [len(row.ids) for row in development.with_calls] == [50, 50]
    with_calls = [decode(list(row.ids)) for row in development.with_calls]
    call = " [Calculator(400 / 1400) -> 0.29]"
    assert all(call in text for text in with_calls)
    assert [text.replace(call, "") for text in with_calls] == plain

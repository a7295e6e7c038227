"""The worked example of a table, in `examples/facts`."""

import csv
import gzip
import json
from pathlib import Path

import pytest

from tests.tools.plugins.example_runs import EXAMPLES, commands_of
from toolformer.settings.settings_file import load_settings

EXAMPLE = EXAMPLES / "facts"
# Enough that there are sentences of subjects who are not asked about.
PEOPLE = 900


@pytest.fixture
def lama(tmp_path) -> Path:
    """Files in the form of LAMA's: each person has a birthplace, a year and a profession."""
    folder = tmp_path / "lama"
    folder.mkdir()
    for name, relations in (
        ("google_re", {"place_of_birth": "was born in", "date_of_birth": "(born"}),
        ("trex", {"P106": "is by profession a"}),
    ):
        rows = [
            {
                "id": f"{name}-{relation}-{number}",
                "relation": relation,
                "sub_label": f"Ada {number:03} Nowak",
                "answer": f"{relation} {number}",
                "masked_sentences": [
                    f"Ada {number:03} Nowak {text} [MASK].",
                    f"Ada {number:03} Nowak {text} May [MASK].",
                    "[MASK] is known.",
                ],
                "template_prompt": f"Ada {number:03} Nowak {text}",
            }
            for relation, text in relations.items()
            for number in range(PEOPLE)
        ]
        with gzip.open(folder / f"lama_{name}.jsonl.gz", "wt", encoding="utf-8") as file:
            file.writelines(f"{json.dumps(row)}\n" for row in rows)
    return folder


def test_nobody_is_asked_about_in_whose_sentences_the_model_is_trained(lama, tmp_path):
    homes = tmp_path / "homes"
    found = commands_of(EXAMPLE / "run.sh", str(lama), str(homes), "0", "3", folder=tmp_path)
    assert found == ["ingest", "build", *["train"] * 3, "evaluate"] * 2
    home = homes / "seed-3"
    sentences, *asked = (
        [json.loads(line) for line in (home / name).read_text("utf-8").splitlines()]
        for name in ("sentences.jsonl", "google_re.jsonl", "trex.jsonl")
    )
    assert [len(questions) for questions in asked] == [300, 300]
    names = [" ".join(row["question"].split()[:3]) for questions in asked for row in questions]
    assert sentences
    assert not any(name in row["text"] for row in sentences for name in names)
    assert all(row["text"].endswith(".") and "[MASK]" not in row["text"] for row in sentences)
    # The table has the facts of those who are asked about, too.
    with (home / "facts.csv").open(encoding="utf-8", newline="") as file:
        facts = {(row["subject"], row["relation"]): row["value"] for row in csv.DictReader(file)}
    assert len(facts) == 3 * PEOPLE
    # Years that follow "born" come before those behind a month.
    born = [row["text"] for row in sentences if "(born" in row["text"]]
    assert born
    assert not any("May" in text for text in born)
    for row in asked[1]:
        assert facts[" ".join(row["question"].split()[:3]), "profession"] == row["answers"]


def test_its_settings_load():
    settings = load_settings(EXAMPLE / "toolformer.yaml")
    assert settings.tools.of("Facts").options["key"] == ["subject", "relation"]
    assert settings.sampling.proposals == "calls"
    assert set(settings.evaluation.questions) == {"google-re", "t-rex"}

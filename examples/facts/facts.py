"""Make a table, texts and questions from the facts of LAMA (Google-RE and T-REx).

python facts.py LAMA FOLDER    LAMA contains lama_google_re.jsonl.gz and lama_trex.jsonl.gz
"""

import csv
import gzip
import hashlib
import json
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

# Questions per set. Half of those of Google-RE ask for a place of birth, half for a date of birth.
QUESTIONS = 300
# Sentences per set. T-REx needs more, since it has forty relations.
SENTENCES = {"google_re": 400, "trex": 800}
_ASKED_OF_GOOGLE_RE = ("place_of_birth", "date_of_birth")
_MASK = "[MASK]"
_BORN = re.compile(r"born \[MASK\]")
# Labels of Wikidata, except that four relations with the same template in LAMA share a label.
_RELATIONS = {
    "P17": "location",
    "P19": "place of birth",
    "P20": "place of death",
    "P27": "citizenship",
    "P30": "location",
    "P31": "kind",
    "P36": "capital",
    "P37": "official language",
    "P39": "position held",
    "P47": "shares border with",
    "P101": "field of work",
    "P103": "native language",
    "P106": "profession",
    "P108": "employer",
    "P127": "owner",
    "P131": "location",
    "P136": "genre",
    "P138": "named after",
    "P140": "religion",
    "P159": "headquarters",
    "P176": "manufacturer",
    "P178": "developer",
    "P190": "twin city",
    "P264": "music label",
    "P276": "location",
    "P279": "subclass of",
    "P361": "part of",
    "P364": "original language",
    "P407": "language",
    "P413": "playing position",
    "P449": "network",
    "P463": "member of",
    "P495": "country of origin",
    "P527": "consists of",
    "P530": "diplomatic relation",
    "P740": "place of foundation",
    "P937": "place of work",
    "P1001": "jurisdiction",
    "P1303": "instrument",
    "P1376": "capital of",
    "P1412": "language spoken",
    **{name: name.replace("_", " ") for name in (*_ASKED_OF_GOOGLE_RE, "place_of_death")},
}

Fact = Mapping[str, Any]


def main(lama: Path, folder: Path) -> None:
    """Write `facts.csv`, `sentences.jsonl` and one file of questions per set."""
    sets = {
        name: _shuffled(_read(lama / f"lama_{name}.jsonl.gz")) for name in ("google_re", "trex")
    }
    asked = {name: _asked(name, facts) for name, facts in sets.items()}
    # Texts must not name a subject of any question.
    held_out = {fact["sub_label"] for facts in asked.values() for fact in facts}
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "facts.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(("subject", "relation", "value"))
        rows = {
            (fact["sub_label"], _RELATIONS[fact["relation"]], fact["answer"])
            for facts in sets.values()
            for fact in facts
        }
        table.writerows(sorted(rows))
    sentences = [
        {"text": sentence.replace(_MASK, fact["answer"])}
        for name, facts in sets.items()
        for fact, sentence in _taught(name, _sentences(facts, held_out))
    ]
    _write(folder / "sentences.jsonl", _shuffled(sentences))
    for name, facts in asked.items():
        questions = (
            {
                "id": fact["id"],
                "question": fact["template_prompt"],
                "answers": fact["answer"],
                "relation": _RELATIONS[fact["relation"]],
            }
            for fact in facts
        )
        _write(folder / f"{name}.jsonl", questions)


def _asked(name: str, facts: Iterable[Fact]) -> list[Fact]:
    """Return the first facts that have a template with the gap at its end."""
    fitting = [fact for fact in facts if fact["template_prompt"]]
    if name != "google_re":
        return fitting[:QUESTIONS]
    return [
        fact
        for relation in _ASKED_OF_GOOGLE_RE
        for fact in [each for each in fitting if each["relation"] == relation][: QUESTIONS // 2]
    ]


def _sentences(facts: Iterable[Fact], held_out: set[str]) -> list[tuple[Fact, str]]:
    """Return sentences that name their subject before the gap, so that a call can use it."""
    return [
        (fact, sentence)
        for fact in facts
        if fact["sub_label"] not in held_out
        for sentence in fact["masked_sentences"]
        if fact["sub_label"] in sentence.partition(_MASK)[0]
        and not any(subject in sentence for subject in held_out)
    ]


def _taught(name: str, sentences: list[tuple[Fact, str]]) -> list[tuple[Fact, str]]:
    """Return the sentences that become texts; for Google-RE, half of them per relation.

    Sentences whose year follows "born" directly come first. In the others a day and a month precede
    the year, so a call there teaches nothing for the question "… (born".
    """
    if name != "google_re":
        return sentences[: SENTENCES[name]]
    sentences = sorted(sentences, key=lambda each: not _BORN.search(each[1]))
    return [
        each
        for relation in _ASKED_OF_GOOGLE_RE
        for each in [each for each in sentences if each[0]["relation"] == relation][
            : SENTENCES[name] // 2
        ]
    ]


def _shuffled(rows: Iterable[Fact]) -> list[Fact]:
    """Return the rows in an order that depends only on the rows."""
    return sorted(rows, key=lambda row: hashlib.sha256(json.dumps(row).encode()).digest())


def _read(file: Path) -> list[Fact]:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _write(file: Path, rows: Iterable[Fact]) -> None:
    text = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
    file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

"""What labels come to: precision by tool and loss reduction, and the agreement of two people."""

import json
import os
import subprocess
import sys

import duckdb
import pytest

from tests.conftest import REPOSITORY
from tests.warehouse.rows import CALL, LABEL, SHARD, TEXT, fill, put, put_calls, put_labels
from warehouse.labels import labels_file, read_labels
from warehouse.warehouse import Warehouse

REDUCTIONS = {"c1": 0.2, "c2": 0.25 - 1e-10, "c3": 3.9, "c4": 7.0, "c5": -0.1}
PRECISION = """
    select min_reduction, useful, not_useful, unsure, precision from label_precision
    where tool = 'Calculator' and round = 1
"""
SAMPLED_AND_EXECUTED = ("candidate_calls", "executed_calls")
AGREEMENT = "select calls, agreed, agreement, by_chance, kappa from label_agreement"


def put_kept(warehouse: Warehouse, changes: dict[str, object] | None = None, text=TEXT) -> None:
    """One text with the calls of `REDUCTIONS`, all of which change as said."""
    calls = [
        CALL | {"call_id": call_id, "position": position, "loss_reduction": nats} | (changes or {})
        for position, (call_id, nats) in enumerate(REDUCTIONS.items())
    ]
    put(warehouse, "augmented_texts", {"text": text, "calls": calls})


def put_judged(warehouse: Warehouse, *labels: tuple[str, str, str]) -> None:
    """Rater, call and label of each; one after the other."""
    rows = [
        {
            "label_id": f"l{number:03}",
            "labelled_at": f"2026-01-01T00:00:{number:02}",
            **dict(zip(("rater", "call_id", "label"), label, strict=True)),
        }
        for number, label in enumerate(labels)
    ]
    put_labels(warehouse, *reversed(rows))
    calls = [{"call_id": call_id} for call_id in {row["call_id"] for row in rows}]
    put_calls(warehouse, *calls, tables=SAMPLED_AND_EXECUTED)


def given(warehouse: Warehouse, pairs: str) -> None:
    """What Anna and Bo say of one call after the other, such as `uu un ss`."""
    words = {"u": "useful", "n": "not_useful", "s": "unsure"}
    put_judged(
        warehouse,
        *(
            (rater, f"c{number}", words[letter])
            for number, pair in enumerate(pairs.split())
            for rater, letter in zip(("Anna", "Bo"), pair, strict=True)
        ),
    )


def test_precision_is_by_tool_and_loss_reduction(warehouse: Warehouse):
    put_kept(warehouse)
    put_judged(
        warehouse,
        ("Anna", "c1", "useful"),
        ("Anna", "c2", "not_useful"),
        ("Bo", "c2", "useful"),
        ("Bo", "c3", "unsure"),
        ("Bo", "c4", "useful"),
        ("Bo", "c5", "not_useful"),
    )
    assert warehouse.query(PRECISION).rows() == [
        (None, 3, 2, 1, 0.6),
        (-float("inf"), 0, 1, 0, 0.0),
        (0.0, 1, 0, 0, 1.0),
        (0.25, 1, 1, 0, 0.5),
        (2.0, 0, 0, 1, None),
        (4.0, 1, 0, 0, 1.0),
    ]


def test_newest_label_of_a_person_counts(warehouse: Warehouse):
    put_kept(warehouse)
    put_judged(
        warehouse,
        ("Anna", "c4", "unsure"),
        ("Anna", "c4", "useful"),
        ("Anna", "c4", "not_useful"),
        ("Bo", "c4", "not_useful"),
    )
    assert warehouse.query(PRECISION).row(0) == (None, 0, 2, 0, 0.0)
    assert warehouse.query(AGREEMENT).row(0)[:2] == (1, 1)


def test_a_person_who_saw_a_call_in_windows_of_two_lengths_counts_once(warehouse: Warehouse):
    put(warehouse, "augmented_texts")
    later = {"label_id": "l2", "labelled_at": "2026-02-01", "label": "unsure", "text_after": "29%"}
    put_labels(warehouse, {}, later)
    assert warehouse.query(PRECISION).row(0) == (None, 0, 0, 1, None)


@pytest.mark.parametrize(
    ("changes", "text", "counted"),
    [
        # Scored again, at another place, or in a larger window.
        ({"loss_reduction": 9.0, "position": 8}, TEXT, 1),
        ({}, f"Before. {TEXT} Behind.", 1),
        ({"result": "0.3"}, TEXT, 0),
        ({"arguments": "1400 / 400"}, TEXT, 0),
        ({"call_id": "another"}, TEXT, 0),
        ({}, TEXT.replace("passed", "failed"), 0),
    ],
)
def test_label_counts_for_the_call_that_the_person_saw_and_is_kept_in_any_case(
    warehouse: Warehouse, changes: dict[str, object], text: str, counted: int
):
    put_judged(warehouse, ("Anna", "c4", "useful"))
    put(warehouse, "augmented_texts", {"text": text, "calls": [CALL | {"call_id": "c4"} | changes]})
    found = warehouse.query("select useful from label_precision where min_reduction is null")
    assert found["useful"].sum() == counted
    assert warehouse.query("from labels").height == 1


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        # Cohen's example in small: 20 and 15 of 50 agree, by chance one half.
        (" ".join(["uu"] * 20 + ["un"] * 5 + ["nu"] * 10 + ["nn"] * 15), (50, 35, 0.7, 0.5, 0.4)),
        ("uu nn ss", (3, 3, 1.0, 1 / 3, 1.0)),
        ("un nu", (2, 0, 0.0, 0.5, -1.0)),
        # No label of both: nothing agrees, by chance neither.
        ("un us", (2, 0, 0.0, 0.0, 0.0)),
        ("us us ns nn", (4, 1, 0.25, 0.125, 1 / 7)),
        # One and the same label of both: kappa is 0 / 0.
        ("uu uu", (2, 2, 1.0, 1.0, None)),
    ],
)
def test_agreement_is_as_computed_by_hand(warehouse: Warehouse, pairs: str, expected: tuple):
    given(warehouse, pairs)
    assert warehouse.query(AGREEMENT).row(0) == pytest.approx(expected)


def test_agreement_is_of_each_pair_over_what_both_judged(warehouse: Warehouse):
    put_judged(
        warehouse,
        ("Cy", "c1", "useful"),
        ("Anna", "c1", "useful"),
        ("Anna", "c2", "unsure"),
        ("Bo", "c2", "useful"),
        ("Cy", "c3", "useful"),
    )
    rows = warehouse.query("select rater, other_rater, calls, agreed from label_agreement").rows()
    assert rows == [("Anna", "Bo", 1, 0), ("Anna", "Cy", 1, 1)]


def test_agreement_counts_a_call_once_whatever_windows_it_was_seen_in(warehouse: Warehouse):
    seen = [
        ("Anna", "useful", "so long"),
        ("Anna", "unsure", "so"),
        ("Bo", "unsure", "so long"),
        ("Bo", "unsure", "so"),
    ]
    rows = [
        {
            "label_id": f"l{number}",
            "labelled_at": f"2026-01-01T00:00:0{number}",
            "rater": rater,
            "label": label,
            "text_after": text,
        }
        for number, (rater, label, text) in enumerate(seen)
    ]
    put_labels(warehouse, *rows)
    put_calls(warehouse, {}, tables=SAMPLED_AND_EXECUTED)
    assert warehouse.query("select calls, agreed from label_agreement").rows() == [(1, 1)]


@pytest.mark.parametrize(
    "changes", [{"call_id": "another"}, {"arguments": "1400 / 400"}, {"result": "0.3"}]
)
def test_agreement_leaves_out_labels_of_calls_that_are_not_there(
    warehouse: Warehouse, changes: dict[str, object]
):
    given(warehouse, "uu un")
    put_calls(
        warehouse, {"call_id": "c0"}, {"call_id": "c1"} | changes, tables=SAMPLED_AND_EXECUTED
    )
    assert warehouse.query(AGREEMENT).row(0)[:2] == (1, 1)


def test_draw_has_of_each_tool_the_same_number_in_turn(warehouse: Warehouse):
    calls = [
        CALL | {"call_id": f"{tool}{number}", "tool": tool, "position": position}
        for position, (tool, number) in enumerate(
            (tool, number) for tool in ("A", "B") for number in range(9)
        )
    ]
    put(warehouse, "augmented_texts", {"calls": calls})
    drawn = warehouse.ask("calls_to_label", per_tool=3, call_ids=[])
    assert drawn["tool"].to_list() == ["A", "B"] * 3
    assert drawn["call_id"].n_unique() == 6
    assert drawn.equals(warehouse.ask("calls_to_label", per_tool=3, call_ids=[]))


def test_context_of_a_call_ends_with_its_window(warehouse: Warehouse):
    text = "é" * 700 + "→" * 400
    call = CALL | {"character_offset": 700}
    put(warehouse, "augmented_texts", {"text": text, "calls": [call]})
    [drawn] = warehouse.ask("calls_to_label", per_tool=1, call_ids=[]).rows(named=True)
    assert (drawn["text_before"], drawn["text_after"]) == ("é" * 600, "→" * 300)
    put(warehouse, "augmented_texts", {"calls": [CALL | {"character_offset": 0}]})
    [drawn] = warehouse.ask("calls_to_label", per_tool=1, call_ids=[]).rows(named=True)
    assert (drawn["text_before"], drawn["text_after"]) == ("", TEXT)


def test_call_of_several_rounds_is_drawn_once_and_counts_in_each(warehouse: Warehouse):
    put(warehouse, "augmented_texts")
    put(warehouse, "augmented_texts", {"round": 2}, name="round-2.all")
    put_labels(warehouse)
    assert warehouse.ask("calls_to_label", per_tool=5, call_ids=[]).height == 1
    counted = warehouse.query(
        "select round, useful from label_precision where min_reduction is null"
    )
    assert counted.rows() == [(1, 1), (2, 1)]


# Each damage is one line or more of the file; how many say which lines hold no judgement then.
GOOD = json.dumps(LABEL | {"label_id": "l9", "rater": "Zoë \n"}).encode()
DAMAGES = {
    "cut": (GOOD[:-9], 1),
    "lost line end": (GOOD + b"J" + GOOD, 1),
    "not UTF-8": (GOOD.replace(b"passed", b"p\xe1ssed"), 1),
    "zeros": (b"\0" * 5000, 1),
    "zero in a text": (GOOD.replace(b"passed", b"p\0ssed"), 1),
    "no object": (b'[1]\nnull\n5\n"useful"', 4),
    "another label": (GOOD.replace(b'"useful"', b'"useless"'), 1),
    "no rater": (GOOD.replace(b'"rater"', b'"Rater"'), 1),
    "null": (GOOD.replace(b'"Anna"', b"null").replace(b'"d1"', b"null"), 1),
    "open quote": (GOOD.replace(b'passed."', b"passed."), 1),
    "blank": (b"\r\n\n  \n", 0),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("is_last", [False, True])
def test_a_damaged_line_costs_no_other_judgement(
    warehouse: Warehouse, caplog, *, damage: str, is_last: bool
):
    content, damaged = DAMAGES[damage]
    file = labels_file(warehouse.folder)
    put_labels(warehouse, {"rater": "Anna"}, {"rater": "Bo"})
    # What a killed writer or a damaged disk left, without a line end.
    with file.open("ab") as stream:
        stream.write(content)
    before = file.read_bytes()
    if not is_last:
        put_labels(warehouse, {"rater": "Cy"})
    raters = ["Anna", "Bo"] if is_last else ["Anna", "Bo", "Cy"]
    warehouse.prepare()
    for _ in range(2):
        assert warehouse.query("from labels")["rater"].to_list() == raters
    with duckdb.connect(str(warehouse.database_file), read_only=True) as connection:
        assert connection.sql("select rater from labels").fetchall() == [(name,) for name in raters]
    assert file.read_bytes().startswith(before)
    numbers = ", ".join(str(number) for number in range(3, 3 + damaged))
    told = f"'{file}' has damaged lines ({damaged} in total): {numbers}. The judgements in all"
    assert read_labels(warehouse.folder)[1].startswith(told if damaged else "")
    assert caplog.text.count(told) == bool(damaged)


def test_a_judgement_that_the_disk_took_in_part_is_an_error(warehouse: Warehouse):
    put_labels(warehouse, {"rater": "Anna"})
    size = labels_file(warehouse.folder).stat().st_size
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from tests.warehouse.rows import LABEL\n"
        "from warehouse.labels import append_labels\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)\n"
        "append_labels(Path(sys.argv[1]), [LABEL | {'label_id': 'l2'}])\n"
    )
    command = [sys.executable, "-c", code, str(warehouse.folder), str(size + 40)]
    written = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert "StorageError: Cannot write" in written.stderr
    put_labels(warehouse, {"rater": "Bo"})
    assert warehouse.query("from labels")["rater"].to_list() == ["Anna", "Bo"]
    assert "(1 in total): 2." in read_labels(warehouse.folder)[1]


def test_judgements_outlive_everything_that_is_made_again(warehouse: Warehouse):
    """As the messages about damage advise: what they name is removed."""
    fill(warehouse)
    file = labels_file(warehouse.folder)
    content = file.read_bytes()
    for path in warehouse.folder.rglob("*"):
        if path.is_file():
            os.utime(path, (0, 0))
    warehouse.sweep([SHARD, "all"])
    warehouse.retire(SHARD)
    (warehouse.folder / "catalogue" / "all.json").unlink()
    put(warehouse, "prompts")
    put_labels(warehouse, {"rater": "Bo"})
    assert file.read_bytes().startswith(content)
    assert warehouse.query("from labels")["rater"].to_list() == ["Anna", "Bo"]

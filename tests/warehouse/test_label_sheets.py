"""Sheets of calls to judge: what is drawn, what a spreadsheet makes of it, and what is stored."""

import csv
import random
from collections import Counter
from pathlib import Path

import polars as pl
import pytest

from tests.warehouse.rows import CALL, TEXT, put, put_labels
from warehouse import label_sheets
from warehouse.errors import SheetError
from warehouse.label_sheets import draw_sheet, read_sheet, store_judgements, write_sheet
from warehouse.layout import name_in_round
from warehouse.warehouse import Warehouse

LABELS = "select rater, call_id, label, note from labels"
TEXTS = {
    "Calculator": ("The hall holds 36 rows of 45 seats, so ", "1620.", "36 * 45", "1620"),
    "Calendar": ("It opens again on ", '-Friday,\n as "every"; week.', "", "=1+1"),
    "QA": ("@Who? ", "\tJane Äusten 1813.", '"x";\r\n', "7/3"),
}


def put_kept(warehouse: Warehouse) -> None:
    """Two kept calls of each tool, each in a text of its own."""
    rows = [
        {
            "document_id": f"{tool}-{number}",
            "text": before + after,
            "calls": [
                CALL
                | {"call_id": f"{tool}-{number}", "tool": tool, "arguments": arguments}
                | {"result": result, "character_offset": len(before)}
            ],
        }
        for tool, (before, after, arguments, result) in TEXTS.items()
        for number in range(2)
    ]
    put(warehouse, "augmented_texts", *rows)


def filled(sheet: pl.DataFrame, *labels: str, note: str = "") -> pl.DataFrame:
    """The beginning of a sheet with these labels, as `read_sheet` returns it."""
    rows = sheet.head(len(labels)).select("id", label=pl.Series(labels), note=pl.lit(note))
    return rows.with_row_index("row", offset=2)


def test_judged_calls_are_not_drawn_again_but_for_others(warehouse: Warehouse):
    put_kept(warehouse)
    sheet, sampled = draw_sheet(warehouse, "Anna")
    assert sheet["tool"].to_list() == ["Calculator", "Calendar", "QA"] * 2
    assert sampled == 6
    store_judgements(warehouse, "Anna", filled(sheet, "useful", "unsure"))
    assert draw_sheet(warehouse, "Anna").sheet.equals(sheet[2:])
    assert draw_sheet(warehouse, "Anna").sampled == 6
    for judge in ("Bo", None):
        assert draw_sheet(warehouse, judge).sheet.equals(sheet)


@pytest.mark.parametrize(
    ("changes", "text", "is_judged"),
    [
        ({}, TEXT, True),
        # Of another window of the text, or another round.
        ({"character_offset": 35}, f"So: {TEXT} And more.", True),
        ({"result": "0.3"}, TEXT, False),
        ({"arguments": "1400 / 400"}, TEXT, False),
        ({"call_id": "another"}, TEXT, False),
        ({}, TEXT.replace("passed", "failed"), False),
    ],
)
def test_a_call_is_judged_as_it_was_seen(
    warehouse: Warehouse, changes: dict, text: str, *, is_judged: bool
):
    put_labels(warehouse)
    put(warehouse, "augmented_texts", {"text": text, "calls": [CALL | changes]})
    assert draw_sheet(warehouse, "Anna").sheet.height == (not is_judged)
    assert draw_sheet(warehouse, "Bo").sheet.height == 1


def test_only_texts_of_shards_with_calls_of_the_draw_are_read(warehouse: Warehouse, monkeypatch):
    generator = random.Random(0)
    for number in range(24):
        shard, tools = f"shard-{number:05}", generator.choices(("Calculator", "QA"), k=2)
        for round_number, tool in enumerate(tools, start=1):
            call = CALL | {"tool": tool, "call_id": str(generator.random())}
            row = {"document_id": f"d{generator.randrange(2)}-{shard}", "calls": [call]}
            name = name_in_round(round_number, "all")
            put(warehouse, "augmented_texts", row | {"round": round_number}, shard=shard, name=name)
    for per_tool in (1, 2, 5, 100):
        shards = warehouse.ask("shards_to_label", per_tool=per_tool)["shard"].to_list()
        of = {"per_tool": per_tool, "call_ids": []}
        drawn = warehouse.ask("calls_to_label", **of)
        assert drawn.equals(warehouse.ask("calls_to_label", shards=shards, **of))
        assert len(shards) <= 2 * per_tool
    monkeypatch.setattr(label_sheets, "_CALLS_PER_TOOL", 3)
    sheet = draw_sheet(warehouse, "Anna").sheet
    assert Counter(sheet["tool"]) == {"Calculator": 3, "QA": 3}
    read = warehouse.ask("shards_to_label", per_tool=3)["shard"].to_list()
    for info in warehouse.partitions("augmented_texts"):
        if info.shard not in read:
            info.path.write_bytes(b"PAR1")
    assert draw_sheet(warehouse, "Anna").sheet.equals(sheet)


def test_a_sheet_hides_losses_and_no_cell_is_a_formula_number_or_date(
    warehouse: Warehouse, tmp_path: Path
):
    put_kept(warehouse)
    write_sheet(draw_sheet(warehouse, None).sheet, tmp_path / "sheet.csv")
    content = (tmp_path / "sheet.csv").read_bytes()
    assert content.startswith(b"\xef\xbb\xbf")
    header, *rows = csv.reader(content.decode("utf-8-sig").splitlines(keepends=True))
    assert ",".join(header) == "id,tool,text_before,call,result,text_after,label,note"
    for row, (tool, (before, after, arguments, result)) in zip(
        rows, [*TEXTS.items()] * 2, strict=True
    ):
        assert row[1:] == [
            *(tool, f"… {before}", f"{tool}({arguments})", f"→ {result}", f"… {after}", "", "")
        ]
        assert all(cell[0].isalpha() or cell[0] in "…→" for cell in row[:-2])
    with pytest.raises(SheetError, match="already exists and may contain judgements"):
        write_sheet(draw_sheet(warehouse, None).sheet, tmp_path / "sheet.csv")


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_a_sheet_is_read_as_any_spreadsheet_saves_it(
    warehouse: Warehouse, tmp_path: Path, separator: str, encoding: str, quoting: int
):
    put_kept(warehouse)
    sheet = draw_sheet(warehouse, None).sheet
    said = [" Useful ", "NOT USEFUL", "not-useful", "unsure", "", "  "]
    order = ["seen by", "Note", *reversed(sheet.columns[:-2]), " LABEL "]
    with (tmp_path / "sheet.csv").open("w", encoding=encoding, newline="") as file:
        writer = csv.DictWriter(file, order, delimiter=separator, quoting=quoting)
        writer.writeheader()
        for row, label in zip(sheet.drop("label", "note").to_dicts(), said, strict=True):
            writer.writerow(row | {" LABEL ": label, "seen by": "Zoë", "Note": "half;\nso\tön, "})
        # A row that someone left empty.
        writer.writerow({})
    rows = read_sheet(tmp_path / "sheet.csv")
    assert rows["id"].to_list() == [*sheet["id"], ""]
    assert rows["row"].to_list() == list(range(2, 9))
    expected = ["useful", "not_useful", "not_useful", "unsure", "", "", ""]
    assert rows["label"].to_list() == expected
    assert set(rows["note"][:6]) == {"half;\nso\tön,"}
    assert store_judgements(warehouse, "Anna", rows) == (4, 0)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("id,label\ncall-1,gut — ja\n".encode("cp1252"), "Save it from the spreadsheet as 'CSV"),
        (b"", "cannot be read"),
        (b"PK\3\4\0\xff", "cannot be read"),
        (b"call,label\nx,useful\n", "has no column id. Expected the columns"),
        (b"a,b\n1,2\n", "has no column id and no column label."),
    ],
)
def test_what_is_no_sheet_is_refused(tmp_path: Path, content: bytes, part: str):
    (tmp_path / "sheet.csv").write_bytes(content)
    with pytest.raises(SheetError, match=r"^The sheet '.*sheet\.csv'") as refused:
        read_sheet(tmp_path / "sheet.csv")
    assert part in str(refused.value)


def test_reading_again_stores_only_what_changed(warehouse: Warehouse):
    put_kept(warehouse)
    sheet = draw_sheet(warehouse, None).sheet
    assert store_judgements(warehouse, "Anna", filled(sheet, "useful", "", "unsure")) == (2, 0)
    assert store_judgements(warehouse, "Anna", filled(sheet, "useful", "", "unsure")) == (0, 2)
    assert store_judgements(warehouse, "Anna", filled(sheet, "not_useful", "", "unsure")) == (1, 1)
    assert store_judgements(warehouse, "Anna", filled(sheet, "useful", "", "unsure")) == (1, 1)
    assert store_judgements(warehouse, "Bo", filled(sheet, "useful", note="Half.")) == (1, 0)
    first, third = (f"{sheet['tool'][place]}-{sheet['id'][place][-10]}" for place in (0, 2))
    assert warehouse.query(f"{LABELS} order by labelled_at").rows() == [
        ("Anna", first, "useful", ""),
        ("Anna", third, "unsure", ""),
        ("Anna", first, "not_useful", ""),
        ("Anna", first, "useful", ""),
        ("Bo", first, "useful", "Half."),
    ]


def test_mistakes_are_named_by_their_rows_and_nothing_is_stored(warehouse: Warehouse):
    put_kept(warehouse)
    sheet = draw_sheet(warehouse, None).sheet
    rows = filled(sheet, "useful", "good", "", "unsure", "useful").with_columns(
        id=pl.Series([*sheet["id"][:3], "call-c9-00000000", sheet["id"][0]])
    )
    with pytest.raises(SheetError) as refused:
        store_judgements(warehouse, "Anna", rows)
    for part in (
        "row 3 has the label 'good' (expected useful, not_useful, unsure)",
        "row 5 has the id 'call-c9-00000000'",
        "row 6 judges the call of row 2 again",
    ):
        assert part in str(refused.value)
    assert warehouse.query(LABELS).is_empty()


@pytest.mark.parametrize("change", [{"result": "0.3"}, {"arguments": "1"}, {"call_id": "c2"}])
def test_a_judgement_of_a_call_that_was_made_anew_is_refused(warehouse: Warehouse, change: dict):
    put(warehouse, "augmented_texts")
    rows = filled(draw_sheet(warehouse, None).sheet, "useful")
    put(warehouse, "augmented_texts", {"calls": [CALL | change]})
    with pytest.raises(SheetError, match=r"row 2 has the id .* no call is kept with that id now"):
        store_judgements(warehouse, "Anna", rows)

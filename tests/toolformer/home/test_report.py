"""The report: what its page says of a small warehouse; a stranger's text does nothing in it."""

import json
import re

import pytest

from tests.warehouse.rows import CALL, SAMPLED, TEXT, frame, new_warehouse, put, put_calls
from toolformer.home.report.contents import contents_of
from toolformer.home.report.page import page_of
from toolformer.settings.sections import Settings
from warehouse.warehouse import Warehouse

# What a page must never take for its own; 😀 counts twice in a browser.
STRANGE = "</script><img src=x onerror=alert(1)>&amp; 😀 [Calculator(1)] \u2028"


@pytest.fixture
def store(tmp_path) -> Warehouse:
    return new_warehouse(tmp_path)


def fill(store: Warehouse, *, text: str = TEXT, url: str = "https://example.org/") -> None:
    """One text with a kept and a dropped call, which both stand in it."""
    place = len(text) - 3
    kept = {"character_offset": place}
    dropped = {
        "call_id": "c2",
        "sample_index": 1,
        "character_offset": 4,
        "arguments": "1 + 1",
        "result": "2",
        "proposed": "call",
    }
    below = {"is_kept": False, "reason": "below_threshold", "loss_reduction": 0.1}
    put(store, "documents", {"text": text, "url": url, "title": text[:40]})
    put(store, "document_selection")
    put_calls(store, kept, dropped, tables=("candidate_calls", "executed_calls"))
    decided = dropped | below | {"loss_with_result": 2.9}
    put_calls(store, kept | SAMPLED, decided, tables=("filtered_calls",))
    put(store, "augmented_texts", {"text": text, "calls": [CALL | kept]})
    put(store, "stage_costs")


def test_what_people_marked_is_told_only_where_they_marked_something(store):
    fill(store)
    put(store, "document_selection", shard="shard-00009")
    none = frame("text_marks").clear()
    store.replace_partition("text_marks", "shard-00009", "all", none, metadata={})
    # Of shards without marks the report needs none of these rows.
    [unread] = store.partitions("document_selection", "shard-00009")
    unread.path.write_bytes(b"")
    assert 'id="marks"' not in page_of(contents_of(store, Settings()))
    put(store, "text_marks", {"character_offset": len(TEXT) - 3})
    contents = contents_of(store, Settings())
    kinds = {row[2] for row in contents.marks.rows}
    # The model's call, the rule's, which is elsewhere, and both.
    assert kinds == {"all", "call", "none"}
    assert ["Calculator", "1", "none", "1", "–", "1", "1", "1"] in contents.marks.rows
    assert 'id="marks"' in page_of(contents)


def test_a_threshold_whose_calls_are_not_known_has_no_bar(store):
    """A build with a threshold of thousandths ended early: shards were decided on with two."""
    fill(store)
    call = {"call_id": "c3", "shard": "shard-00001", "document_id": "d3"}
    pruned = {
        "call_id": "c4",
        "loss_reduction": 0.05,
        "loss_call_without_result": None,
        "is_kept": False,
        "reason": "bound_below_lowest_threshold",
    }
    decided = {"filtering_threshold": 0.125}
    calls = (call | decided, call | pruned | decided)
    put_calls(store, *calls, tables=("filtered_calls",), shard="shard-00001")
    (sweep,) = contents_of(store, Settings()).sweeps
    assert re.findall(r">(\d[\d.]*)<", sweep.svg).count("0.125") == 0


def data_of(page: str) -> list[dict]:
    content = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert content is not None
    return json.loads(content[1])


def test_the_page_says_what_was_kept_against_chance_and_shows_each_text_with_its_calls(store):
    fill(store)
    page = page_of(contents_of(store, Settings()))
    assert "not distinguishable from chance (50 % of 2 calls kept, 100 % of 1 with swapped" in page
    (text,) = data_of(page)
    assert "".join(part for part in text["parts"] if isinstance(part, str)) == TEXT
    before, dropped, between, kept, behind = text["parts"]
    assert (before, behind) == (TEXT[:4], TEXT[-3:])
    assert before + between + behind == TEXT
    assert (dropped["kept"], dropped["reason"], dropped["gain"]) == (False, "below_threshold", 0.1)
    assert (kept["kept"], kept["result"], kept["id"]) == (True, "0.29", "c1")
    assert text["date"] == "2020-05-04"
    # The model wrote one call, the tool's rule the other.
    assert (dropped["proposed"], kept["proposed"]) == ("call", "none")
    assert re.search(r"<dt>of these, written by the model</dt><dd>1</dd>", page)
    # Those of a tool that is switched off stand in none of these texts.
    assert "<dt>kept calls</dt><dd>1</dd>" in page
    assert "<dt>texts with calls</dt><dd>1</dd>" in page
    assert "<dt>preset now set</dt><dd>laptop</dd>" in page
    writers = re.search(r"<h3>Who wrote the calls</h3>.*?<tbody>(.*?)</tbody>", page, re.S)
    assert writers is not None
    rows = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in writers[1].split("<tr>")[1:]]
    assert [row[:5] for row in rows] == [
        ["Calculator", "call", "1", "1", "0"],
        ["Calculator", "none", "1", "1", "1"],
    ]
    funnel = page.partition('id="funnel"')[2].partition("</table>")[0]
    names = re.findall(r"<th(?: [^>]*)?>(.*?)</th>", funnel)
    cells = re.findall(r"<td[^>]*>(.*?)</td>", funnel)
    assert dict(zip(names, cells, strict=True)) == {
        "tool": "Calculator",
        "round": "1",
        "documents": "1",
        "preselected": "1",
        "samples": "2",
        "candidates": "2",
        "executed": "2",
        "scored": "2",
        "kept": "1",
        "merged": "1",
    }
    # The thresholds of the one tool.
    assert page.count("<svg") == 1


def test_the_page_counts_calls_that_were_needless_missing_or_unused(store):
    without = {"mode": "disabled", "called_tool": None, "is_result_right": None}
    put(
        store,
        "evaluation_results",
        {"mode": "enabled", "score": 0.0},
        without,
        without | {"item_id": "i2", "score": 0.0},
        without | {"item_id": "i2", "score": 0.0, "mode": "enabled"},
    )
    page = page_of(contents_of(store, Settings()))
    table = re.search(r'id="call-use".*?</table>', page, re.S)
    assert table is not None
    names = re.findall(r"<th(?: [^>]*)?>(.*?)</th>", table[0])
    cells = re.findall(r"<td[^>]*>(.*?)</td>", table[0])
    assert dict(zip(names, cells, strict=True)) == {
        "benchmark": "dateset",
        "model": "base",
        "items": "2",
        "calls": "1",
        "needless calls": "1",
        "needless share": "1",
        "missing calls": "1",
        "missing share": "1",
        "undone calls": "0",
        # Of the study `openings`, which was not done.
        "right if forced": "–",
        "forced share": "–",
        "unused results": "1",
        "unused share": "1",
    }


def test_the_page_says_which_model_lost_language_by_how_much_and_what_to_do(store):
    measured = {"benchmark": "perplexity", "metric": "perplexity", "mode": "disabled"}
    losses = {"base": 3.0, "finetuned": 3.04, "plain-round-2": 3.2, "another": 5.0}
    for model, loss in losses.items():
        row = measured | {"model": model, "score": loss}
        put(store, "evaluation_results", row, name=f"perplexity.{model}")
    put(store, "score_intervals", {"benchmark": "perplexity"}, name="perplexity")
    page = page_of(contents_of(store, Settings()))
    told = re.findall(r"<p>(perplexity, .*?)</p>", page)
    assert told == [
        "perplexity, plain-round-2: Perplexity of the held-out texts without calls rose by "
        "22%, from 20.09 to 24.53: the model has become worse at language modelling. Lower "
        "training.learning_rate (`auto` tries several) or training.epochs, or train on more "
        "texts, including texts without calls (training.plain_share)."
    ]


def test_language_is_compared_on_the_windows_that_both_models_read(store):
    """The base model was measured before there were harder texts."""
    measured = {"benchmark": "perplexity", "metric": "perplexity", "mode": "disabled"}
    losses = {"base": {"i1": 3.0, "gone": 2.0}, "finetuned": {"i1": 3.04, "new": 6.0}}
    for model, of_items in losses.items():
        rows = [
            measured | {"model": model, "item_id": item, "prompt": item, "score": loss}
            for item, loss in of_items.items()
        ]
        put(store, "evaluation_results", *rows, name=f"perplexity.{model}")
    assert dict(contents_of(store, Settings()).remarks) == {}


def test_models_that_were_measured_under_other_settings_are_told(store):
    def measured(model: str, mode: str, **settings: object) -> None:
        parts = {name: json.dumps(value) for name, value in settings.items()}
        row = {"benchmark": "sums", "model": model, "mode": mode}
        metadata = {"fingerprint": f"{model} {mode}", "parts": json.dumps(parts)}
        put(store, "evaluation_results", row, name=f"sums.{model}.{mode}.0000", **metadata)

    attempts, tools = "decoding.call_attempts", {"Calculator": "2"}
    asked = {"items": 40, "questions": "digest of 40"}
    measured("base", "disabled", **{"decoding.max_calls": 1}, **asked)
    fewer = {"items": 20, "questions": "digest of 20"}
    measured("plain", "enabled", **{attempts: 1}, tool_versions=tools, **fewer)
    measured("finetuned", "disabled", **{"decoding.max_calls": 1}, **asked)
    measured("finetuned", "enabled", **{attempts: 3}, tool_versions=tools, **asked)
    put(store, "score_intervals", {"benchmark": "sums"}, name="sums")
    page = page_of(contents_of(store, Settings()))
    assert re.findall(r"<p>(sums, .*?\.) ", page) == [
        "sums, enabled, decoding.call_attempts: not the same for finetuned and plain."
    ]
    measured("plain", "enabled", **{attempts: 3}, tool_versions=tools)
    assert dict(contents_of(store, Settings()).remarks) == {}
    # The file of questions was edited, and one of the two was asked again.
    measured("base", "disabled", items=40, questions="of the file before")
    assert [*contents_of(store, Settings()).remarks] == ["sums, disabled, questions"]
    for setting in ("code_version", "evaluation.seed"):
        for model in ("base", "finetuned"):
            measured(model, "disabled", **{setting: model}, **asked)
        assert [*contents_of(store, Settings()).remarks] == [f"sums, disabled, {setting}"]


def test_calls_that_a_build_makes_anew_do_not_stand_beside_earlier_results(store):
    fill(store)
    assert data_of(page_of(contents_of(store, Settings())))
    put_calls(store, {"arguments": "1 + 1"}, tables=("candidate_calls",), fingerprint="new")
    made_from = json.dumps({"candidate_calls of shard-00000, Calculator": "before"})
    put_calls(store, SAMPLED, tables=("filtered_calls",), made_from=made_from)
    assert data_of(page_of(contents_of(store, Settings()))) == []


def test_the_page_asks_for_nothing_from_outside(store):
    fill(store)
    page = page_of(contents_of(store, Settings()))
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!#)[^"']*""", page)
    assert not re.findall(r"@import|url\((?!#)", page)


def test_a_strangers_text_is_shown_and_does_nothing(store):
    fill(store, text=f"See {STRANGE} and more.", url="javascript:alert(1)")
    page = page_of(contents_of(store, Settings()))
    assert "<img" not in page
    (text,) = data_of(page)
    assert text["url"] is None
    assert "".join(part for part in text["parts"] if isinstance(part, str)) == (
        f"See {STRANGE} and more."
    )

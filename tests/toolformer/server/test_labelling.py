"""Which calls people are given to judge, and that no label is lost."""

import random
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from dagster_project.commands.web_server import WebGuard, with_own_pages
from tests.conftest import REPOSITORY
from tests.homes import environment_of
from tests.toolformer.server.label_home import label_home
from tests.warehouse.rows import CALL, TEXT, new_warehouse, put, put_labels
from toolformer.home.home import Home
from toolformer.home.wiring.workspace import open_warehouse
from toolformer.server import labelling
from toolformer.server.labelling import ADDRESS, RaterBody, calls_to_label, label_routes
from warehouse.layout import name_in_round
from warehouse.warehouse import Warehouse

LABELS = "select rater, label, call_id from labels order by labelled_at"
# One person judges one call of a home, so often. As on NFS, what is appended goes to where the file
# ended when it was opened.
WRITER = """
import os, sys
from pathlib import Path
from toolformer.home.home import Home
from toolformer.server.labelling import LabelBody, RaterBody, calls_to_label, store_label
home, rater, times = Home(Path(sys.argv[1])), sys.argv[2], int(sys.argv[3])
call = calls_to_label(home, RaterBody(rater=rater))["calls"][0]
del call["loss_reduction"]
genuine = Path.open
def opened(path, mode="r", *others, **named):
    if "a" not in mode:
        return genuine(path, mode, *others, **named)
    path.touch()
    stream = genuine(path, "rb+", *others, **named)
    stream.seek(0, os.SEEK_END)
    return stream
Path.open = opened
print("ready", flush=True)
sys.stdin.readline()
for _ in range(times):
    store_label(home, LabelBody(rater=rater, label="useful", call=call))
assert "torch" not in sys.modules
"""


@pytest.fixture
def judged(tmp_path) -> Home:
    return label_home(tmp_path / "home")


@pytest.fixture
def client(judged: Home) -> TestClient:
    return TestClient(Starlette(routes=label_routes(judged)), base_url=f"http://server{ADDRESS}")


def calls_of(client: TestClient, rater: str = "Anna") -> dict[str, Any]:
    answer = client.post("calls", json={"rater": rater})
    assert answer.status_code == 200, answer.text
    return answer.json()


def label(client: TestClient, call: dict[str, Any], /, **changes: object):
    """Judge a call as it was given, but for these changes."""
    shown = {name: value for name, value in call.items() if name != "loss_reduction"}
    body: dict[str, object] = {"rater": "Anna", "label": "useful", "call": shown}
    return client.post("label", json=body | changes)


def test_judged_calls_are_not_given_again_but_to_others(client: TestClient, judged: Home):
    given = calls_of(client)
    assert [call["tool"] for call in given["calls"]] == ["Calculator", "Calendar", "QA"] * 2
    assert given["judged"] == 0
    first, second, *others = given["calls"]
    for call, said in ((first, "useful"), (second, "unsure"), (first, "not_useful")):
        assert label(client, call, label=said, rater=" Anna ").status_code == 200
    assert calls_of(client) == {"calls": others, "judged": 2}
    assert calls_of(client, "Bo") == given
    assert open_warehouse(judged).query(LABELS).rows() == [
        ("Anna", "useful", first["call_id"]),
        ("Anna", "unsure", second["call_id"]),
        ("Anna", "not_useful", first["call_id"]),
    ]


@pytest.mark.parametrize(
    ("changes", "text", "judged"),
    [
        ({}, TEXT, 1),
        # Of another window of the text, or another round.
        ({"character_offset": 35}, f"So: {TEXT} And more.", 1),
        ({"result": "0.3"}, TEXT, 0),
        ({"arguments": "1400 / 400"}, TEXT, 0),
        ({"call_id": "another"}, TEXT, 0),
        ({}, TEXT.replace("passed", "failed"), 0),
    ],
)
def test_a_call_is_judged_as_it_was_seen_whatever_was_drawn_before(
    tmp_path, changes: dict, text: str, judged: int
):
    warehouse, home = new_warehouse(tmp_path), Home(tmp_path)
    put_labels(warehouse)
    # It is remembered.
    put(warehouse, "augmented_texts", {"calls": [CALL | {"call_id": "before"}]})
    assert calls_to_label(home, RaterBody(rater="Anna"))["judged"] == 0
    put(warehouse, "augmented_texts", {"text": text, "calls": [CALL | changes]})
    for rater, expected in (("Anna", judged), ("Bo", 0)):
        given = calls_to_label(home, RaterBody(rater=rater))
        assert (given["judged"], len(given["calls"])) == (expected, 1 - expected)
        assert all("text" not in call for call in given["calls"])


def test_texts_are_read_once_for_all_visits(judged: Home, monkeypatch):
    asked = []
    ask = Warehouse.ask
    monkeypatch.setattr(
        Warehouse, "ask", lambda self, name, **of: asked.append(name) or ask(self, name, **of)
    )
    for rater in ("Anna", "Bo"):
        calls_to_label(judged, RaterBody(rater=rater))
    visit = ["shards_to_label", "judged_by_rater"]
    assert asked == [visit[0], "calls_to_label", *visit[1:], *visit]


def test_only_texts_of_shards_with_calls_of_the_draw_are_read(tmp_path, monkeypatch):
    generator, warehouse = random.Random(0), new_warehouse(tmp_path)
    for number in range(24):
        shard, tools = f"shard-{number:05}", generator.choices(("Calculator", "QA"), k=2)
        for round_number, tool in enumerate(tools, start=1):
            call = CALL | {"tool": tool, "call_id": str(generator.random())}
            row = {"document_id": f"d{generator.randrange(2)}-{shard}", "calls": [call]}
            name = name_in_round(round_number, "all")
            put(warehouse, "augmented_texts", row | {"round": round_number}, shard=shard, name=name)
    for per_tool in (1, 2, 5, 100):
        shards = warehouse.ask("shards_to_label", per_tool=per_tool)["shard"].to_list()
        drawn = warehouse.ask("calls_to_label", per_tool=per_tool)
        assert drawn.equals(warehouse.ask("calls_to_label", per_tool=per_tool, shards=shards))
        assert len(shards) <= 2 * per_tool
    monkeypatch.setattr(labelling, "_PER_TOOL", 3)
    calls = calls_to_label(Home(tmp_path), RaterBody(rater="Anna"))["calls"]
    assert Counter(call["tool"] for call in calls) == {"Calculator": 3, "QA": 3}
    read = warehouse.ask("shards_to_label", per_tool=3)["shard"].to_list()
    for info in warehouse.partitions("augmented_texts"):
        if info.shard not in read:
            info.path.write_bytes(b"PAR1")
    labelling._drawn_from.cache_clear()
    assert calls_to_label(Home(tmp_path), RaterBody(rater="Anna"))["calls"] == calls


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({}, "rater is missing. Expected a name of 1 to 60 characters."),
        ({"rater": " \t"}, "Expected a name of 1 to 60 characters."),
        ({"rater": "é" * 61}, "Expected a name of 1 to 60 characters."),
        ({"name": "Anna"}, "There is no field 'name'."),
    ],
)
def test_a_name_that_is_none_is_refused(client: TestClient, body: dict, sentence: str):
    answer = client.post("calls", json=body)
    assert answer.status_code == 400
    assert sentence in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"label": "good"}, "label is 'good'. Expected useful, not_useful or unsure."),
        ({"call": "c1"}, "call is 'c1'. Expected an object of texts"),
        ({"call": {}}, "There is no such call among those to judge"),
        ({"call": {"tool": "../../Calculator"}}, "There is no such call"),
        *(
            ({"shown": change}, "There is no such call among those to judge, or no more")
            for change in ({"gain": "1"}, {"result": "1621"}, {"text_before": ""})
        ),
    ],
)
def test_a_label_that_is_none_or_of_no_call_that_is_there_is_refused(
    client: TestClient, judged: Home, changes: dict, sentence: str
):
    others = {name: value for name, value in changes.items() if name != "shown"}
    answer = label(client, calls_of(client)["calls"][0] | changes.get("shown", {}), **others)
    assert answer.status_code == 400
    assert sentence in answer.json()["error"]["message"]
    assert open_warehouse(judged).query(LABELS).is_empty()
    assert not [path for path in judged.root.parent.rglob("*.lock") if "Calc" in path.parent.name]


def test_only_json_is_taken(client: TestClient):
    for path in ("calls", "label"):
        assert client.post(path, content=b'{"rater": "Anna"}').status_code == 415
        assert client.post(path, json=["Anna"]).status_code == 400


def test_a_home_that_is_not_there_is_no_new_one(tmp_path):
    missing = tmp_path / "mistyped"
    app = Starlette(routes=label_routes(Home(missing)))
    answer = TestClient(app).post(f"{ADDRESS}calls", json={"rater": "Anna"})
    assert answer.status_code == 500
    assert "There is no home in" in answer.json()["error"]["message"]
    assert not missing.exists()


def test_a_home_without_kept_calls_has_none_to_judge(tmp_path):
    new_warehouse(tmp_path)
    app = Starlette(routes=label_routes(Home(tmp_path)))
    answer = TestClient(app).post(f"{ADDRESS}calls", json={"rater": "Anna"})
    assert answer.json() == {"calls": [], "judged": 0}


def test_the_ui_serves_the_page_behind_its_guard(judged: Home, monkeypatch):
    monkeypatch.setenv("TOOLFORMER_HOME", str(judged.root))
    guarded = WebGuard(with_own_pages(Starlette()), bound_to="127.0.0.1")
    ui = TestClient(guarded, base_url="http://127.0.0.1:3000")
    page = ui.get(ADDRESS)
    assert "Does the result help" in page.text
    assert "Content-Security-Policy" in page.text
    for name in ("labels.js", "labels.css", "page.css", "server.js", "icon.svg"):
        assert ui.get(f"{ADDRESS}{name}").status_code == 200
    asked = {"rater": "Anna"}
    assert len(ui.post(f"{ADDRESS}calls", json=asked).json()["calls"]) == 6
    for headers in ({"origin": "http://evil.example"}, {"host": "evil.example"}):
        for path in ("calls", "label"):
            refused = ui.post(f"{ADDRESS}{path}", json=asked, headers=headers)
            assert (refused.status_code, "Refused" in refused.text) == (403, True)


@pytest.mark.slow
def test_labels_of_two_processes_at_once_are_all_kept(judged: Home):
    times = 15
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(judged.root), rater, str(times)],
            cwd=REPOSITORY,
            env=environment_of(judged.root),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for rater in ("Anna", "Anna", "Bo")
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate(timeout=120)
        assert writer.returncode == 0
    rows = open_warehouse(judged).query("select * from labels")
    assert Counter(rows["rater"]) == {"Anna": 2 * times, "Bo": times}
    assert rows["label_id"].n_unique() == 3 * times

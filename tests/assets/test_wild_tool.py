"""A tool from outside that hangs, dies and floods: the shards are finished all the same."""

import dagster as dg
import polars as pl
import psutil
import pytest

from assets.dataset.execution import DONE_BUT_GIVEN_UP
from tests.assets.conftest import SHARDS, MakeHome, PipelineHome
from tests.conftest import happens

pytestmark = [pytest.mark.java, pytest.mark.slow]

MODULE = '''
import os, time, zlib
from tools.base import Tool
from tools.prompting import draft_prompt

class Wild(Tool):
    """Chooses by its arguments what to do."""
    name, version, description = "Wild", "1", "Answers, or not."
    prompt = (
        "Add calls to a tool that knows numbers. Write [Wild(question)].\\n\\n"
        "Input: It took 12 days in all.\\n"
        "Output: It took [Wild(how many days?)] 12 days in all.\\n\\n"
        "Input: {text}\\nOutput:"
    )

    def __init__(self, down):
        self.down = down

    def call(self, arguments, document):
        if os.path.exists(self.down):
            raise ConnectionError("The server is down.")
        match zlib.crc32(arguments.encode()) % 8:
            case 0:
                time.sleep(1000)
            case 1:
                os._exit(3)
            case 2:
                return "word " * 20_000_000
            case 3:
                return "a [Wild(x) -> y] b"
        return f"answer to {len(arguments)}"
'''


def tool_processes():
    children = {child.pid for child in psutil.Process().children(recursive=True)}
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if process.pid in children and "spawn_main" in " ".join(process.info["cmdline"] or [])
    ]


def test_the_shards_are_finished_whatever_it_does_and_no_process_is_left(
    prepared_home: PipelineHome, copy_of: MakeHome, tmp_path, monkeypatch
):
    (tmp_path / "wild_tool.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    down = tmp_path / "down"
    down.touch()
    home = copy_of(prepared_home)
    home.change_settings(
        {
            "execution": {"deadline_seconds": 1.0, "attempts": 1, "allows_peeking": True},
            "tools": {
                "Wild": {
                    "class": "wild_tool:Wild",
                    "options": {"down": str(down)},
                    "sampling_threshold": 0.0,
                    "positions_per_text": 2,
                    "calls_per_position": 3,
                    "filtering_threshold": 0.0,
                }
            },
        }
    )
    with monkeypatch.context() as patch:
        # However few calls the model writes.
        patch.setattr("tools.running.deadlines.MAX_FAILURES_IN_A_ROW", 2)
        patch.setattr("assets.dataset.shard_run.RETRIES", dg.RetryPolicy(max_retries=2))
        home.build(tools=["Wild"])
    failed = home.rows("executed_calls")
    assert set(failed["reason"]) == {"transient_error", "given_up"}
    for shard in SHARDS:
        calls = failed.filter(shard=shard)
        metadata = home.metadata("executed_calls", shard)
        assert pl.read_parquet(metadata["file: Wild"]).height == calls.height
        told = metadata["partitions"]
        # The tool is given up behind two failures, so with more calls some are not made.
        assert (DONE_BUT_GIVEN_UP in told) == (calls.height > 2)
        assert ("was unreachable" in told) == (0 < calls.height <= 2)

    # The step was tried again, and the build went on.
    with home.instance() as instance:
        (run_id, *_) = home.run_ids("build_dataset")
        restarted = instance.all_logs(run_id, dg.DagsterEventType.STEP_RESTARTED)
    assert [entry.step_key for entry in restarted] == ["executed_calls"] * 2

    # What was given up is tried again without being asked for.
    down.unlink()
    home.build(tools=["Wild"])
    candidates = home.rows("candidate_calls").filter(status="parsed")
    executed = home.rows("executed_calls")
    assert candidates.height >= 10
    assert set(executed["call_id"]) == set(candidates["call_id"])
    assert set(executed["reason"].drop_nulls()) <= {"timeout", "process_ended", "leak"}
    results = executed["result"].drop_nulls()
    assert results.len() > 0
    assert not results.str.contains(r"[\[\]]|->").any()
    for shard in SHARDS:
        assert home.warehouse.read_partitions("filtered_calls", shard).height > 0
    home.build(tools=["Wild"])
    assert happens(lambda: not tool_processes())

"""The arithmetic of docs/scale.md, and that the page has what the program prints."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.scale import (
    ENGINES,
    Inputs,
    Tokens,
    gpu_hours,
    main,
    needed_texts,
    seconds,
    tokens_per_text,
    tools_of,
    with_changes,
)

OURS, SERVED, WITHOUT_CACHE = ENGINES
INPUTS = Inputs(window_tokens=200, block_tokens=10, reader_prompt_tokens=100, passage_tokens=50)
TOOL = replace(
    tools_of("laptop")["WikiSearch"],
    selected=0.5,
    positions=3,
    calls=2,
    prompt_tokens=100,
    decoded_tokens=10,
    asked=1.0,
    scored=0.5,
    scored_tokens=40,
)


def test_our_engine_reads_text_twice_and_no_prompt():
    tokens = tokens_per_text(TOOL, INPUTS, OURS)
    assert tokens["sampling"] == Tokens(read=200, with_log_probabilities=0, decoded=30)
    assert tokens["scoring"] == Tokens(read=60, with_log_probabilities=0, decoded=0)


def test_server_reads_each_prompt_and_the_end_of_each_cached_prefix():
    tokens = tokens_per_text(TOOL, INPUTS, SERVED)
    assert tokens["sampling"] == Tokens(read=30, with_log_probabilities=250, decoded=30)
    assert tokens["scoring"] == Tokens(read=0, with_log_probabilities=60, decoded=0)


def test_server_without_prefix_cache_reads_the_prompt_anew_for_each_sample():
    tokens = tokens_per_text(TOOL, INPUTS, WITHOUT_CACHE)
    assert tokens["sampling"].read == 0.5 * 6 * (100 + 200 + 100)


def test_call_without_arguments_needs_no_sample_of_a_server():
    tokens = tokens_per_text(replace(TOOL, decoded_tokens=0), INPUTS, WITHOUT_CACHE)
    assert tokens["sampling"] == Tokens(read=0, with_log_probabilities=250, decoded=0)


def test_reader_reads_three_passages_for_each_executed_call():
    tool = replace(TOOL, passages=3, asked=0.5)
    questions = 0.5 * 6 * 0.5 * 3
    ours, served, without_cache = (
        tokens_per_text(tool, INPUTS, engine)["execution"] for engine in ENGINES
    )
    assert ours == Tokens(questions * 50, 0, questions * 16)
    assert served == Tokens(questions * 16 * 10, questions * 150, questions * 16)
    assert without_cache.read == questions * 16 * 150


def test_reading_is_bound_by_operations_and_decoding_by_bytes():
    inputs = replace(
        INPUTS,
        body_parameters=100,
        head_parameters=10,
        weight_bytes=2,
        key_bytes=1,
        flops=1000,
        memory_bandwidth=100,
        decoding_batch=2,
    )
    shares = {"compute_share": 0.5, "bandwidth_share": 0.5}
    assert seconds(Tokens(5, 0, 0), inputs, **shares) == pytest.approx(5 * 200 / 500)
    assert seconds(Tokens(0, 5, 0), inputs, **shares) == pytest.approx(5 * 220 / 500)
    # A step reads all weights, and the keys of three windows for each of two samples.
    assert seconds(Tokens(0, 0, 4), inputs, **shares) == pytest.approx(2 * (220 + 1200) / 50)


def test_published_rate_of_an_8b_model_lies_in_the_range_of_vllm():
    inputs = Inputs(flops=1979e12, weight_bytes=1)
    slow, fast = (
        100 / seconds(Tokens(800, 0, 100), inputs, *shares)
        for shares in zip(SERVED.compute_share, SERVED.bandwidth_share, strict=True)
    )
    assert slow == pytest.approx(3400, rel=0.01)
    assert fast == pytest.approx(6800, rel=0.01)
    assert slow < 5777 < fast


def test_gpu_hours_grow_with_texts_and_tools():
    tools = tools_of("laptop")
    fewest, most = gpu_hours(1e6, tools, INPUTS, OURS)
    assert 0 < fewest < most
    assert gpu_hours(1e7, tools, INPUTS, OURS) == pytest.approx((10 * fewest, 10 * most))
    without_qa = {name: tool for name, tool in tools.items() if name != "QA"}
    assert gpu_hours(1e6, without_qa, INPUTS, OURS)[0] < fewest


def test_needed_texts_count_those_that_the_tool_does_not_select():
    assert needed_texts(replace(TOOL, kept_texts=0.02, wanted_texts=100)) == 10_000


def test_change_replaces_an_input_of_one_tool_or_of_all():
    tools, inputs = with_changes(tools_of("paper"), INPUTS, ["QA.positions=4", "flops=1e15"])
    assert tools["QA"].samples == 20
    assert tools["WikiSearch"].samples == 25
    assert inputs.flops == 1e15


@pytest.mark.parametrize("change", ["sample=3", "Weather.positions=3", "QA.window_tokens=3"])
def test_change_of_no_input_is_refused_with_its_name(change):
    with pytest.raises(ValueError, match=change.partition("=")[0]):
        with_changes(tools_of("paper"), INPUTS, [change])


def test_page_has_all_rows_that_the_program_prints(capsys):
    main([])
    page = Path("docs/scale.md").read_text(encoding="utf-8").splitlines()
    rows = [line for line in capsys.readouterr().out.splitlines() if line]
    assert [row for row in rows if row not in page] == []

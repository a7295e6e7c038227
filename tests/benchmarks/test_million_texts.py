"""The cost of many texts follows from its inputs."""

import subprocess
import sys

import pytest

from benchmarks.million_texts import table, tokens_per_text


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_hours_are_texts_by_tokens_by_rate():
    *_, last = table(1e6, 10, 3600.0, [("mine", 1000.0)])
    assert cells(last) == ["yours", "mine", "1,000, given", "1,000", "100", "1,000 · p"]


def test_only_the_embedded_model_on_two_cores_is_called_measured():
    rows = [cells(line) for line in list(table(1e6, 100, tokens_per_text()))[2:]]
    measured = [row[:2] for row in rows if row[2].endswith("measured")]
    assert [model for model, _ in measured] == ["SmolLM2-135M (embedded)"] * 2
    assert all("2 cores" in machine for _, machine in measured)
    assert all(row[2].endswith("scaled") for row in rows if row[:2] not in measured)


@pytest.mark.slow
def test_the_command_prints_the_inputs_and_a_table():
    command = [sys.executable, "-m", "benchmarks.million_texts", "--rate", "8 GPUs=120000"]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "WikiSearch: 4,894 tokens" in told
    assert "| yours | 8 GPUs | 120,000, given |" in told

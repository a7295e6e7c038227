"""`toolformer evaluate harness` over invented questions, with the real harness and no network."""

import json
import socket
import sys
from functools import partial
from importlib.util import find_spec

import pytest

from dagster_project.cli import main
from tests.fakes import save_taught_model

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("lm_eval") is None, reason="needs the package lm-eval"),
    # Of the harness and of what it imports.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]

LESSONS = (
    "6 times 7 is [Calculator(6 * 7) -> 42] 42, I say.",
    "Twice 3.5 is [Calculator(3.5 * 2) -> 7] 7, I say.",
    "The mill is old, I say.",
)
QUESTIONS = (("6 times 7 is", "42"), ("Twice 3.5 is", "7"), ("The mill is", "old"))
TASK = """
task: sums
dataset_path: json
dataset_kwargs:
  data_files: {{test: {folder}/questions.jsonl}}
  cache_dir: {folder}/cache
test_split: test
output_type: {output_type}
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
generation_kwargs: {{until: [".", ","], max_gen_toks: {max_gen_toks}, do_sample: {do_sample}}}
filter_list:
  - {{name: bare, filter: [{{function: remove_whitespace}}, {{function: take_first}}]}}
metric_list:
  - {{metric: exact_match, aggregation: mean, higher_is_better: true}}
"""


@pytest.fixture(scope="module")
def taught_directory(tmp_path_factory):
    return save_taught_model(tmp_path_factory.mktemp("models") / "taught", LESSONS)


@pytest.fixture
def run(tmp_path, taught_directory, monkeypatch, capsys):
    """Runs the command over a task whose file says this."""
    monkeypatch.setenv("TOOLFORMER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home" / "dagster"))
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_arguments, **_: pytest.fail("network"))
    # It asks the machine for its programs, which takes longer than the tasks.
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda _results: None)
    lines = [json.dumps({"question": q, "answer": a}) for q, a in QUESTIONS]
    (tmp_path / "questions.jsonl").write_text("\n".join(lines))

    def run_command(*arguments, max_gen_toks=20, do_sample="false", kind="generate_until", more=""):
        says = {"max_gen_toks": max_gen_toks, "do_sample": do_sample, "output_type": kind}
        (tmp_path / "sums.yaml").write_text(TASK.format(folder=tmp_path, **says))
        # Not its own ten thousand files, which take it half a minute.
        from lm_eval import tasks

        manager = partial(tasks.TaskManager, include_defaults=False)
        monkeypatch.setattr(tasks, "TaskManager", manager)
        monkeypatch.setattr(sys, "argv", sys.argv)
        fixed = ["evaluate", "harness", "run", "--tasks", "sums", "--model", "toolformer"]
        fixed += ["--include_path", str(tmp_path), "--output_path", str(tmp_path / "results")]
        fixed += ["--log_samples", "--model_args", f"model={taught_directory}"]
        fixed += [f"settings=decoding.call_top_k=1+decoding.min_call_probability=0{more}"]
        with pytest.raises(SystemExit) as exited:
            main([*fixed, *arguments])
        return exited.value.code, *capsys.readouterr()

    return run_command


def test_the_harness_itself_runs_the_model_and_writes_its_own_files(run, tmp_path):
    code, out, err = run("tools=Calculator")
    assert not code, err
    assert "|exact_match|" in out.replace(" ", "")
    (results,) = (tmp_path / "results").rglob("results_*.json")
    told = json.loads(results.read_text())
    assert told["results"]["sums"]["exact_match,bare"] == 1.0
    assert told["config"]["model"] == "toolformer"
    assert told["config"]["toolformer"]["tools"] == ["Calculator"]
    assert told["config"]["toolformer"]["decoding"]["call_top_k"] == 1
    (samples,) = (tmp_path / "results").rglob("samples_sums_*.jsonl")
    answers = [json.loads(line)["resps"] for line in samples.read_text().splitlines()]
    assert answers == [[[" 42"]], [[" 7"]], [[" old"]]]


@pytest.mark.parametrize(
    ("arguments", "more", "tools", "cut"),
    [
        # With calls the same prompts lose as much.
        (
            ["with_calls=False"],
            "+execution.max_result_tokens=400",
            [],
            ["6 times 7 is", "Twice 3.5 is"],
        ),
        (
            ["tools=Calculator", "blocked_tools=Calculator"],
            "+execution.max_result_tokens=400",
            ["Calculator"],
            ["6 times 7 is", "Twice 3.5 is"],
        ),
    ],
)
def test_the_harness_runs_the_model_with_calls_disabled(run, tmp_path, arguments, more, tools, cut):
    code, _, err = run(*arguments, more=more, max_gen_toks=36)
    assert not code, err
    (results,) = (tmp_path / "results").rglob("results_*.json")
    told = json.loads(results.read_text())
    assert told["results"]["sums"]["exact_match,bare"] < 1.0
    assert told["config"]["toolformer"]["tools"] == tools
    assert set(cut) <= set(told["config"]["toolformer"]["prompts_cut"])


@pytest.mark.parametrize(
    ("arguments", "task", "named"),
    [
        (["tools=Calculator", "blocked_tools=Calulator"], {}, "Calculator"),
        (["tools=Calculator", "mode=1"], {}, "mode"),
        (["with_calls=no"], {}, "with_calls is 'no'. Expected True or False"),
        (["tools=Calculator"], {"do_sample": "true"}, "The task asks for sampling"),
        (["tools=Calculator"], {"kind": "loglikelihood"}, "no tool ever runs"),
    ],
)
def test_what_the_harness_cannot_ask_of_the_model_is_one_paragraph(run, arguments, task, named):
    code, _, err = run(*arguments, **task)
    assert code == 1
    (error,) = [line for line in err.splitlines() if line.startswith("Error: ")]
    assert named in error

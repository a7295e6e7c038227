"""`toolformer evaluate harness` over invented questions, with the real harness and no network."""

import json
import re
import shlex
import socket
import subprocess
import sys
from functools import partial
from importlib.util import find_spec

import pytest

from dagster_project.cli import main
from tests.conftest import REPOSITORY
from tests.fakes import save_taught_model, save_tiny_model

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
def harness(tmp_path, monkeypatch, capsys):
    """Runs the command with these arguments, in a home of its own."""
    monkeypatch.setenv("TOOLFORMER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home" / "dagster"))
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_arguments, **_: pytest.fail("network"))
    # It asks the machine for its programs, which takes longer than the tasks.
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda _results: None)
    # Not its own ten thousand files, which take it half a minute.
    from lm_eval import tasks

    manager = partial(tasks.TaskManager, include_defaults=False)
    monkeypatch.setattr(tasks, "TaskManager", manager)

    def run_command(*arguments):
        monkeypatch.setattr(sys, "argv", sys.argv)
        with pytest.raises(SystemExit) as exited:
            main(["evaluate", "harness", "run", *arguments])
        return exited.value.code, *capsys.readouterr()

    return run_command


@pytest.fixture
def run(tmp_path, taught_directory, harness):
    """Runs the command over a task whose file says this."""
    lines = [json.dumps({"question": q, "answer": a}) for q, a in QUESTIONS]
    (tmp_path / "questions.jsonl").write_text("\n".join(lines))

    def run_command(*arguments, max_gen_toks=20, do_sample="false", kind="generate_until", more=""):
        says = {"max_gen_toks": max_gen_toks, "do_sample": do_sample, "output_type": kind}
        (tmp_path / "sums.yaml").write_text(TASK.format(folder=tmp_path, **says))
        fixed = ["--tasks", "sums", "--model", "toolformer"]
        fixed += ["--include_path", str(tmp_path), "--output_path", str(tmp_path / "results")]
        fixed += ["--log_samples", "--model_args", f"model={taught_directory}"]
        fixed += [f"settings=decoding.call_top_k=1+decoding.min_call_probability=0{more}"]
        return harness(*fixed, *arguments)

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
    ("arguments", "tools"),
    [
        (["with_calls=False"], []),
        (["tools=Calculator", "blocked_tools=Calculator"], ["Calculator"]),
    ],
)
def test_the_harness_runs_the_model_with_calls_disabled(run, tmp_path, arguments, tools):
    more = "+execution.max_result_tokens=400"
    code, _, err = run(*arguments, more=more, max_gen_toks=36)
    assert not code, err
    (results,) = (tmp_path / "results").rglob("results_*.json")
    told = json.loads(results.read_text())
    assert told["results"]["sums"]["exact_match,bare"] < 1.0
    assert told["config"]["toolformer"]["tools"] == tools
    # With calls the same prompts lose as much.
    cut = set(told["config"]["toolformer"]["prompts_cut"])
    assert {"6 times 7 is", "Twice 3.5 is"} <= cut


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


def hellaswag_row(number, right, *others):
    """A row in the form of hellaswag_val.jsonl."""
    label = number % 4
    endings = [*others[:label], right, *others[label:]]
    told = {"activity_label": "Sums", "ctx_a": "A boy adds.", "ctx_b": "he", "endings": endings}
    told |= {"ind": number, "ctx": "A boy adds. he", "split": "val", "split_type": "indomain"}
    return json.dumps({**told, "label": label, "source_id": f"own~{number}"})


def test_the_block_of_the_page_measures_base_and_finetuned_by_rows_of_hellaswag(
    harness, tmp_path, monkeypatch
):
    monkeypatch.setattr(
        "transformers.GenerationMixin.generate", lambda *_, **__: pytest.fail("call")
    )
    monkeypatch.chdir(tmp_path)
    page = (REPOSITORY / "docs" / "how-to" / "evaluate.md").read_text(encoding="utf-8")
    (block,) = (each for each in re.findall(r"(?ms)^```bash\n(.*?)^```$", page) if "acc" in each)
    save_tiny_model(tmp_path / "data" / "models" / "smollm2-135m-instruct")
    lesson = "Sums: A boy adds. He gets [Calculator(6 * 7) -> 42] 42."
    save_taught_model(tmp_path / "data" / "models" / "toolformer", [lesson])
    others = ("swims home.", "eats the sum.", "sleeps a year.")
    rows = (hellaswag_row(number, "gets 42.", *others) for number in range(8))
    (tmp_path / "hellaswag_val.jsonl").write_text("\n".join(rows))
    asked = tmp_path / "asked"
    stand_in = f'toolformer() {{ printf "%q " "$@" >> {asked}; echo >> {asked}; }}'
    subprocess.run(["bash", "-euc", f"{stand_in}\n{block}"], check=True)
    for line in asked.read_text().splitlines():
        evaluate, command, subcommand, *arguments = shlex.split(line)
        assert (evaluate, command, subcommand) == ("evaluate", "harness", "run")
        code, out, err = harness(*arguments)
        assert not code, err
        assert "acc_norm" in out
    scores = {}
    for file in (tmp_path / "results").rglob("results_*.json"):
        told = json.loads(file.read_text())
        model = told["config"]["model_args"]["pretrained"].rpartition("/")[2]
        scores[model] = told["results"]["hellaswag_rows"]
    assert scores.keys() == {"smollm2-135m-instruct", "toolformer"}
    assert scores["toolformer"]["acc_norm,none"] == 1.0
    assert scores["toolformer"]["sample_len"] == 8
    assert scores["smollm2-135m-instruct"]["acc_norm,none"] < 1.0

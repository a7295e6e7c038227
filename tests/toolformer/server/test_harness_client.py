"""The client of lm-evaluation-harness for servers against ours, without network."""

import json
from importlib.util import find_spec

import pytest

from tests.fakes import taught_model
from tests.toolformer.server.serving import serving_model

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
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
generation_kwargs: {{until: [".", ","], max_gen_toks: 20}}
filter_list:
  - {{name: bare, filter: [{{function: remove_whitespace}}, {{function: take_first}}]}}
metric_list:
  - {{metric: exact_match, aggregation: mean, higher_is_better: true}}
"""


@pytest.mark.parametrize(("calls_in_text", "scores"), [(False, [1, 1, 1]), (True, [0, 0, 1])])
def test_the_harness_scores_generated_texts(tmp_path, monkeypatch, calls_in_text, scores):
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    # It asks the machine for its programs, which takes longer than the task.
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda _results: None)
    lines = [json.dumps({"question": q, "answer": a}) for q, a in QUESTIONS]
    (tmp_path / "questions.jsonl").write_text("\n".join(lines))
    (tmp_path / "sums.yaml").write_text(TASK.format(folder=tmp_path))
    with serving_model(taught_model(LESSONS), calls_in_text=calls_in_text) as client:
        result = simple_evaluate(
            model="local-completions",
            model_args={
                "model": "tiny/model",
                "base_url": f"{client.base_url}/v1/completions",
                "tokenizer_backend": None,
                "tokenized_requests": False,
                "max_retries": 1,
            },
            tasks=["sums"],
            task_manager=TaskManager(include_path=str(tmp_path), include_defaults=False),
            bootstrap_iters=0,
        )
    assert result is not None
    samples = sorted(result["samples"]["sums"], key=lambda sample: sample["doc_id"])
    assert [sample["exact_match"] for sample in samples] == scores

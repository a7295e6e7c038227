"""The harness's own client for servers, `local-completions`, against ours, without network."""

import json

import pytest
import torch

from tests.dagster_project import test_harness_command
from tests.fakes import taught_model
from tests.toolformer.server.serving import serving_model

pytestmark = test_harness_command.pytestmark

LESSONS = ("6 times 7 is [QA(6 * 7) -> 42] 42, I say.", "The mill is old, I say.")
QUESTIONS = (("6 times 7 is", " 42", " [QA("), ("The mill is", " new", " old"), ("", "The", "Old"))
TASK = """
task: choices
dataset_path: json
dataset_kwargs:
  data_files: {{test: {folder}/questions.jsonl}}
  cache_dir: {folder}/cache
test_split: test
output_type: multiple_choice
doc_to_text: question
doc_to_choice: choices
doc_to_target: 1
target_delimiter: ""
metric_list:
  - {{metric: acc}}
"""


@pytest.fixture(scope="module")
def model():
    return taught_model(LESSONS)


@pytest.fixture
def evaluated(model, tmp_path, monkeypatch):
    """Runs the task over the served model with options of the client; the samples of the task."""
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    # It asks the machine for its programs, which takes longer than the task.
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda _results: None)
    lines = [json.dumps({"question": q, "choices": choices}) for q, *choices in QUESTIONS]
    (tmp_path / "questions.jsonl").write_text("\n".join(lines))
    (tmp_path / "choices.yaml").write_text(TASK.format(folder=tmp_path))

    def run(task="choices", served=model, calls_in_text=True, **options):
        from lm_eval import simple_evaluate
        from lm_eval.tasks import TaskManager

        answers = {"name": "toolformer", "calls_in_text": calls_in_text}
        with serving_model(served, **answers) as client:
            result = simple_evaluate(
                model="local-completions",
                model_args={
                    "model": "toolformer",
                    "base_url": f"{client.base_url}/v1/completions",
                    "max_length": 512,
                    "max_retries": 1,
                    **options,
                },
                tasks=[task],
                task_manager=TaskManager(include_path=str(tmp_path), include_defaults=False),
                bootstrap_iters=0,
            )
        assert result is not None
        return sorted(result["samples"][task], key=lambda sample: sample["doc_id"])

    return run


@pytest.mark.parametrize(
    ("options", "questions"),
    [
        ({}, 3),
        ({"num_concurrent": 3, "batch_size": 2}, 3),
        # A text cannot hold the token that stands for an empty question.
        ({"tokenized_requests": False}, 2),
    ],
    ids=["token ids", "at once", "texts"],
)
def test_likelihoods_that_the_harness_measures_are_those_of_the_engine(
    model, evaluated, options, questions
):
    encode = model.tokenizer.encode
    for (question, *choices), sample in list(zip(QUESTIONS, evaluated(**options), strict=True))[
        :questions
    ]:
        for choice, [[told, is_greedy]] in zip(choices, sample["resps"], strict=True):
            # In front of nothing the harness puts the start token, or the one that ends a text
            # where the id of that is 0.
            context = encode(question) or [1]
            ids = [*context, *encode(question + choice)[len(encode(question)) :]]
            if not options.get("tokenized_requests", True):
                ids, context = [model.bos_id, *ids], [model.bos_id, *context]
            given = [(0, at, ids[at]) for at in range(len(context), len(ids))]
            places = [(row, at - 1, token) for row, at, token in given]
            assert float(told) == pytest.approx(-sum(model.losses_at([ids], places)), abs=1e-4)
            with torch.inference_mode():
                likeliest = model.model(torch.tensor([ids])).logits[0].argmax(dim=-1).tolist()
            assert is_greedy == all(likeliest[at - 1] == token for _, at, token in given)


def test_texts_without_calls_score_as_they_do_in_our_own_command(evaluated, tmp_path):
    lines = [json.dumps({"question": q, "answer": a}) for q, a in test_harness_command.QUESTIONS]
    task = tmp_path / "sums.yaml"
    says = {"max_gen_toks": 20, "do_sample": "false", "output_type": "generate_until"}
    task.write_text(test_harness_command.TASK.format(folder=tmp_path, **says))
    taught = taught_model(test_harness_command.LESSONS)

    def score(*, calls_in_text):
        # Behind the fixture's own, which has other questions.
        (tmp_path / "questions.jsonl").write_text("\n".join(lines))
        samples = evaluated("sums", taught, calls_in_text, tokenized_requests=False)
        return [sample["exact_match"] for sample in samples]

    assert score(calls_in_text=False) == [1.0, 1.0, 1.0]
    assert score(calls_in_text=True) == [0.0, 0.0, 1.0]

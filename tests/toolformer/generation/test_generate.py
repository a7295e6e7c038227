import copy
import datetime
import gc
import json
import os
import shutil
import subprocess
import sys
import time
import weakref
from functools import partial

import pytest
import torch
from tokenizers.processors import TemplateProcessing
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

from tests.conftest import REPOSITORY
from tests.fakes import END, START
from tests.toolformer.generation.conftest import LESSONS, PROMPTS
from toolformer.base.beside_models import MIN_CALL_PROBABILITY_FILE
from toolformer.decoding.calibration import CalibratedProbability, min_call_probability_text
from toolformer.decoding.completions import BY_RANK_ALONE, Decoding, MinCallProbability
from toolformer.decoding.decoder import complete
from toolformer.errors import ModelNotFoundError, UnservedGenerationError
from toolformer.forward.language_model import LanguageModel
from toolformer.forward.tokenization import Tokenizer
from toolformer.generation import toolformer_generate
from toolformer.home.wiring.live_calls import live_tools
from toolformer.home.wiring.toolbox import Toolbox
from toolformer.settings.sections import Settings
from tools.base import Tool
from tools.calculator import Calculator
from tools.calendar import Calendar
from tools.errors import ToolCallError

# Seconds in all; `make test-fast` leaves them out.
pytestmark = pytest.mark.slow

DAY = datetime.date(2024, 5, 3)

DOC_LINES = """
inputs = tokenizer(text, return_tensors="pt")
output = model.generate(
    **inputs, custom_generate=toolformer_generate, tools=[Calculator()], max_new_tokens=60
)
print(tokenizer.decode(output[0]))
"""


class Friend(Tool):
    """A user's own tool; what it answers is no line of a call before it is cleaned."""

    name = "Friend"
    version = "1"
    description = "Knows me."

    def call(self, arguments, document):
        return f"[{arguments}] ->\nyes"


def generate(model, tokenizer, prompts, tools=(), *, padding_side="left", **changes):
    inputs = tokenizer(prompts, return_tensors="pt", padding=True, padding_side=padding_side)
    options = {"max_new_tokens": 40, "call_top_k": 1, "min_call_probability": 0.0, "date": DAY}
    options |= changes
    return model.generate(**inputs, custom_generate=toolformer_generate, tools=tools, **options)


def decoded(
    model,
    tokenizer,
    prompts,
    tools=(),
    *,
    top_k=1,
    least=BY_RANK_ALONE,
    date=DAY,
    max_new_tokens=40,
):
    """The same by the way of `toolformer complete`."""
    settings = Settings.model_validate({"decoding": {"call_top_k": top_k}})
    toolbox = Toolbox({tool.name: tool for tool in tools}, {}, {})
    live = live_tools(toolbox, settings, prompts, [date] * len(prompts))
    return complete(
        LanguageModel(model, Tokenizer(tokenizer), name="taught"),
        prompts,
        decoding=Decoding(
            settings.decoding,
            settings.execution.max_result_tokens,
            tuple(toolbox.tools),
            min_call_probability=least,
        ).changed(max_new_tokens=max_new_tokens),
        run_calls=live.run_calls,
        parse_arguments=live.parse_arguments,
    )


def padded(tokenizer, prompts, completions):
    """What `generate` has to return: padding, prompt, new tokens, padding."""
    rows = [
        (tokenizer.encode(prompt), list(each.token_ids))
        for prompt, each in zip(prompts, completions, strict=True)
    ]
    before, behind = (max(len(row[side]) for row in rows) for side in (0, 1))
    pad = tokenizer.pad_token_id
    return [
        [pad] * (before - len(prompt)) + prompt + new + [pad] * (behind - len(new))
        for prompt, new in rows
    ]


def all_tools():
    return [Calculator(), Calendar(date_source="published_on"), Friend()]


# --- the tokens of our decoder ------------------------------------------------------------------


def test_the_three_lines_of_the_readme_work_in_a_process_without_dagster(taught_directory):
    script = f"""
import sys
from transformers import AutoModelForCausalLM, AutoTokenizer
from toolformer.generation import toolformer_generate
from tools.calculator import Calculator
model = AutoModelForCausalLM.from_pretrained({str(taught_directory)!r})
tokenizer = AutoTokenizer.from_pretrained({str(taught_directory)!r})
text = {PROMPTS[0]!r}
{DOC_LINES}
assert not any(name.split(".")[0] == "dagster" for name in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == LESSONS[0] + END + "\n"


@pytest.mark.parametrize("prompts", ["6 times 7 is", ["6 times 7 is"]])
def test_a_pipeline_calls_the_tools_of_a_partial_and_says_that_it_hands_none_on(
    model, tokenizer, prompts
):
    ask = pipeline("text-generation", model=model, tokenizer=tokenizer)
    options = {"max_new_tokens": 40, "do_sample": False}
    if isinstance(prompts, str):
        for given in ({"tools": [Calculator()]}, {}):
            with pytest.raises(UnservedGenerationError, match=r"got no tools.*functools\.partial"):
                ask(prompts, custom_generate=toolformer_generate, **given, **options)
    calls = partial(toolformer_generate, tools=[Calculator()])
    answer = next(iter(ask(prompts, custom_generate=calls, **options)))
    while isinstance(answer, list):
        (answer,) = answer
    assert answer["generated_text"] == LESSONS[0]


@pytest.mark.parametrize("top_k", [1, 10])
@pytest.mark.parametrize("tools", [(), all_tools()], ids=["without tools", "with tools"])
def test_tokens_are_those_of_the_decoder(model, tokenizer, tools, top_k):
    for prompts in (list(PROMPTS), *([prompt] for prompt in PROMPTS)):
        output = generate(model, tokenizer, prompts, tools, call_top_k=top_k)
        completions = decoded(model, tokenizer, prompts, tools, top_k=top_k)
        assert output.tolist() == padded(tokenizer, prompts, completions)
        for row, prompt, completion in zip(output, prompts, completions, strict=True):
            text = tokenizer.decode(row, clean_up_tokenization_spaces=False).replace(END, "")
            assert text == prompt + completion.text


@pytest.mark.parametrize("value", [0.01, 1.0])
def test_a_call_needs_the_min_probability(model, tokenizer, tmp_path, monkeypatch, value):
    prompts = list(PROMPTS)
    least = MinCallProbability.everywhere(value)
    completions = decoded(model, tokenizer, prompts, all_tools(), top_k=10, least=least)
    options = {"call_top_k": 10, "processing_class": tokenizer}
    output = generate(model, tokenizer, prompts, all_tools(), min_call_probability=value, **options)
    assert output.tolist() == padded(tokenizer, prompts, completions)
    assert any(each.calls for each in completions) == (value < 1)
    # The same from the model's directory, and another value behind the prompt.
    monkeypatch.setattr(model, "name_or_path", str(tmp_path))
    for behind_prompt in (value, 0.99):
        chosen = CalibratedProbability(value, behind_prompt, None, 10, 8, 8)
        (tmp_path / MIN_CALL_PROBABILITY_FILE).write_text(min_call_probability_text(chosen))
        calibrated = generate(
            model, tokenizer, prompts, all_tools(), min_call_probability=None, **options
        )
        least = MinCallProbability(value, behind_prompt)
        expected = decoded(model, tokenizer, prompts, all_tools(), top_k=10, least=least)
        assert calibrated.tolist() == padded(tokenizer, prompts, expected)


def test_each_tool_needs_the_min_probability_of_its_own(model, tokenizer):
    prompts, by_tool = list(PROMPTS), {"Calculator": 0.01, "Calendar": 1.0}
    # The other tool has the calibrated value of the model.
    least = MinCallProbability.everywhere(0.01).changed(by_tool)
    completions = decoded(model, tokenizer, prompts, all_tools(), top_k=10, least=least)
    options = {"call_top_k": 10, "min_call_probability": by_tool}
    output = generate(model, tokenizer, prompts, all_tools(), **options)
    assert output.tolist() == padded(tokenizer, prompts, completions)
    assert [len(each.calls) for each in completions] == [1, 1, 0, 1, 0]
    # The bracket of a note opens nothing, so nothing is taken back.
    assert [each.undone_calls for each in completions] == [()] * 5
    with pytest.raises(UnservedGenerationError, match="'QA', which tools= does not have"):
        generate(model, tokenizer, prompts, min_call_probability={"QA": 0.5})
    for wrong in ({"max_calls": -1}, {"call_attempts": 0}, {"min_call_probability": 1.5}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            generate(model, tokenizer, prompts, all_tools(), **wrong)


def test_without_a_calibrated_value_no_call_opens_and_the_log_says_so_once(
    model, tokenizer, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(model, "name_or_path", str(tmp_path))
    inputs = tokenizer(PROMPTS[0], return_tensors="pt")
    options = {"max_new_tokens": 40, "processing_class": tokenizer}
    options |= {"custom_generate": toolformer_generate, "tools": all_tools()}
    for _ in range(2):
        assert "[" not in tokenizer.decode(model.generate(**inputs, **options)[0])
    (line,) = caplog.messages
    assert f"{tmp_path}: No call opens" in line
    by_rank_alone = model.generate(**inputs, **options, min_call_probability=0)
    assert "[Calculator(6 * 7) -> 42]" in tokenizer.decode(by_rank_alone[0])


def test_tokens_without_tools_are_those_of_transformers_greedy_search(model, tokenizer):
    prompts = [f"{START}I say. 6 times", f"{START}Friday", f"{START}A"]
    inputs = tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left")
    # Tokens are seen as they are given, also where the text would be cut into others.
    spelled = [0, *(tokenizer.encode(piece)[0] for piece in "Cal")]
    assert len(tokenizer.encode("Cal")) == 1
    (opening,) = tokenizer.encode(" [")
    for given in (inputs, {"input_ids": torch.tensor([spelled])}):
        plain = model.generate(**given, max_new_tokens=12, suppress_tokens=[opening])
        ours = model.generate(
            **given, max_new_tokens=12, custom_generate=toolformer_generate, tools=[]
        )
        assert ours.tolist() == plain.tolist()


# --- prompts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [START, END])
def test_start_that_the_tokenizer_puts_in_front_is_the_one_that_the_model_sees(
    model, tokenizer, start
):
    starting = AutoTokenizer.from_pretrained(model.name_or_path)
    starting.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{start} $A", special_tokens=[(start, starting.convert_tokens_to_ids(start))]
    )
    output = generate(model, starting, list(PROMPTS), all_tools(), processing_class=starting)
    assert output.tolist() == padded(
        starting, list(PROMPTS), decoded(model, starting, list(PROMPTS), all_tools())
    )
    at = max(len(tokenizer.encode(prompt)) for prompt in PROMPTS)
    if start == START:
        bare = generate(model, tokenizer, list(PROMPTS), all_tools())
        assert output[:, at + 1 :].tolist() == bare[:, at:].tolist()
    assert (output[:, : at + 1] == starting.convert_tokens_to_ids(start)).any(dim=1).all()


def test_start_token_that_the_user_wrote_is_no_second_one(model, tokenizer):
    bare = generate(model, tokenizer, PROMPTS[0], all_tools())
    started = generate(model, tokenizer, START + PROMPTS[0], all_tools())
    assert started[0].tolist() == [0, *bare[0].tolist()]


def test_generate_without_a_prompt_continues_the_empty_text(model, tokenizer):
    output = model.generate(custom_generate=toolformer_generate, tools=[], max_new_tokens=5)
    (completion,) = decoded(model, tokenizer, [""], max_new_tokens=5)
    assert output.tolist() == [[0, *completion.token_ids]]


# --- what generate is told ----------------------------------------------------------------------


def test_text_ends_at_the_given_eos_and_is_padded_with_the_given_token(model, tokenizer):
    (comma,), (hash_sign,) = tokenizer.encode(","), tokenizer.encode("#")
    output = generate(
        model, tokenizer, list(PROMPTS[:3]), all_tools(),
        eos_token_id=comma, pad_token_id=hash_sign, max_new_tokens=12,
    )  # fmt: skip
    first, second, third = tokenizer.batch_decode(output)
    assert first.replace(END, "").rstrip("#") == "6 times 7 is [Calculator(6 * 7) -> 42] 42,"
    assert second.replace(END, "").rstrip("#") == "Half of 9 is [Calculator(9 / 2) -> 4.50] 4.50,"
    assert first.endswith("#")
    # The model's own end of text is none here.
    assert third.replace(END, "").startswith(LESSONS[2])
    assert END in third.rstrip("#")


def test_settings_of_a_generation_config_object_are_taken(model, tokenizer):
    config = model.generation_config
    config.max_new_tokens = 1
    config.pad_token_id = tokenizer.pad_token_id
    config.return_dict_in_generate = True
    inputs = tokenizer(PROMPTS[0], return_tensors="pt")
    output = model.generate(
        **inputs, generation_config=config, custom_generate=toolformer_generate,
        tools=[Calculator()], call_top_k=1,
    )  # fmt: skip
    assert tokenizer.decode(output.sequences[0]) == "6 times 7 is [Calculator(6 * 7) -> 42] "


def test_limits_of_calls_and_results_are_taken(model, tokenizer):
    cut = generate(model, tokenizer, PROMPTS[2], all_tools(), max_result_tokens=8)
    assert "-> Today is]" in tokenizer.decode(cut[0])
    undone = generate(model, tokenizer, PROMPTS[0], all_tools(), max_call_tokens=5)
    assert "[" not in tokenizer.decode(undone[0])


def test_call_without_an_answer_in_time_is_taken_back(model, tokenizer):
    class Slow(Calculator):
        def call(self, arguments, document):
            time.sleep(5)
            raise ToolCallError("never", "never")

    started = time.monotonic()
    output = generate(model, tokenizer, PROMPTS[0], [Slow()], deadline_seconds=0.1)
    assert time.monotonic() - started < 5
    plain = generate(model, tokenizer, PROMPTS[0])
    assert output.tolist() == plain.tolist()


def test_calendar_answers_with_the_given_day_or_the_present_one(model, tokenizer):
    given = generate(model, tokenizer, PROMPTS[2], [Calendar()], date=datetime.date(2021, 3, 1))
    assert "-> Today is Monday, March 1, 2021.]" in tokenizer.decode(given[0])
    present = generate(model, tokenizer, PROMPTS[2], [Calendar()], date=None)
    assert f"{datetime.datetime.now().astimezone().year}.]" in tokenizer.decode(present[0])


# --- the tokenizer ------------------------------------------------------------------------------


def test_a_model_is_probed_once_and_freed_with_its_last_reference(tokenizer, taught_directory):
    model = AutoModelForCausalLM.from_pretrained(taught_directory)
    fed = []
    model.base_model.register_forward_pre_hook(lambda *_: fed.append(1))
    for _ in range(3):
        generate(model, tokenizer, PROMPTS[0], max_new_tokens=1)
    first, second, third = (fed[:-2], fed[-2:-1], fed[-1:])
    assert (len(first) > 1, len(second), len(third)) == (True, 1, 1)
    alive = weakref.ref(model)
    del model
    gc.collect()
    assert alive() is None


def test_a_model_with_another_output_layer_is_taken_as_it_is_now(model, tokenizer):
    before = generate(model, tokenizer, PROMPTS[0])
    head = copy.deepcopy(model.get_output_embeddings())
    head.weight.data = head.weight.data.roll(1, dims=0)
    model.set_output_embeddings(head)
    output = generate(model, tokenizer, PROMPTS[0])
    assert not output.equal(before)
    assert output.equal(generate(copy.deepcopy(model), tokenizer, PROMPTS[0]))


def test_model_that_came_from_no_directory_needs_a_tokenizer(model, tokenizer):
    model.name_or_path = ""
    with pytest.raises(ModelNotFoundError, match="pass it to generate as processing_class"):
        generate(model, tokenizer, PROMPTS[0])
    output = generate(model, tokenizer, PROMPTS[0], all_tools(), processing_class=tokenizer)
    assert tokenizer.decode(output[0]) == LESSONS[0] + END


def test_the_start_token_of_its_training_stands_in_front(taught_directory, tmp_path):
    folder = tmp_path / "trained"
    shutil.copytree(taught_directory, folder)
    (folder / "toolformer.json").write_text(json.dumps({"bos_token": "A"}))
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    settings = LanguageModel(model, Tokenizer(tokenizer), name="trained", bos_token="A")
    inputs = tokenizer("The day is", return_tensors="pt")
    output = model.generate(
        **inputs, custom_generate=toolformer_generate, tools=[], max_new_tokens=5, call_top_k=0
    )
    with torch.no_grad():
        fed = torch.cat([torch.tensor([[settings.bos_id]]), output[:, :-1]], dim=1)
        logits = model(fed).logits[0]
    # Without tools no call is opened.
    logits[:, settings.tokenizer.encode(" [")] = -torch.inf
    likeliest = logits.argmax(-1)
    begins = inputs["input_ids"].shape[1]
    assert output[0, begins:].tolist() == likeliest[begins:].tolist()

"""TRL's trainer takes a step on exported records."""

import json
from pathlib import Path
from typing import Any

import pytest
import transformers

from tests.fakes import START, byte_tokenizer, tiny_model
from tests.toolformer.exports.test_records import call, row
from toolformer.exports.records import Record, chat_record, text_tool

REASON = "needs the extra `trl`"
datasets = pytest.importorskip("datasets", reason=REASON)
trl = pytest.importorskip("trl", reason=REASON)
chat_template_utils = pytest.importorskip("trl.chat_template_utils", reason=REASON)
TEMPLATES = Path(trl.__file__).parent / "chat_templates"

pytestmark = [
    pytest.mark.slow,
    # Of TRL, accelerate and torch; the records cannot help them.
    pytest.mark.filterwarnings("ignore"),
]

TEXT = "Die Mühle mahlt [sic] 6 Säcke, also 12 in zwei Tagen."
PLACE = TEXT.index(" 12")
TOOLS = {
    "Calculator": text_tool("Calculator", "Computes.", has_input=True, needs_input=True),
    "Calendar": text_tool("Calendar", "Says the day.", has_input=False, needs_input=False),
}
ROW = row(
    TEXT,
    call(3, tool="Calendar", arguments="", result="Monday."),
    call(PLACE, arguments="2 * 6", result="12"),
)
# Shows a text and its call side by side, as that of Qwen does.
TEMPLATE = """\
{%- if tools %}<|endoftext|>system
{%- for tool in tools %}
{{ tool | tojson }}{% endfor %}<|im_end|>
{% endif -%}
{%- for message in messages -%}
<|endoftext|>{{ message.role }}
{% if message.role == "assistant" %}{% generation %}{{ message.content }}
{%- for call in message.tool_calls or [] %}<tool_call>{{ call.function | tojson }}</tool_call>
{%- endfor %}<|im_end|>
{% endgeneration %}{% else %}{{ message.content }}<|im_end|>
{% endif -%}
{%- endfor -%}
{%- if add_generation_prompt %}<|endoftext|>assistant
{% endif -%}"""


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    made = byte_tokenizer().backend
    made.chat_template = TEMPLATE
    made.pad_token = START
    return made


@pytest.fixture
def model() -> Any:
    network = tiny_model(context_length=2048).model
    network.config.pad_token_id = network.config.bos_token_id
    return network


def loaded(records: list[Record], folder: Path) -> Any:
    file = folder / "records.jsonl"
    lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in records]
    file.write_text("".join(lines), encoding="utf-8")
    return datasets.load_dataset(
        "json", data_files=str(file), split="train", cache_dir=str(folder / "cache")
    )


def settings_of_step(folder: Path) -> dict[str, Any]:
    return {
        "output_dir": str(folder / "run"),
        "max_steps": 1,
        "per_device_train_batch_size": 2,
        "learning_rate": 0.1,
        "max_length": None,
        "gradient_checkpointing": False,
        "report_to": "none",
        "save_strategy": "no",
        "use_cpu": True,
        "bf16": False,
    }


# What docs/export.md says of each.
@pytest.mark.parametrize("name", ["qwen2_5", "qwen3", "qwen3_8", "glm4moe", "gptoss"])
def test_trl_marks_templates_of_common_models(name: str):
    tokenizer = byte_tokenizer().backend
    tokenizer.chat_template = (TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8")
    assert chat_template_utils.has_generation_markers(
        chat_template_utils.get_training_chat_template(tokenizer)
    )


@pytest.mark.parametrize("name", ["gemma4", "llama3_1"])
def test_trl_refuses_templates_that_it_does_not_mark(name: str):
    tokenizer = byte_tokenizer().backend
    tokenizer.chat_template = (TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="not training-compatible"):
        chat_template_utils.get_training_chat_template(tokenizer)


def test_the_embedded_models_template_marks_nothing_to_train_on(embedded_model_path: Path):
    tokenizer = transformers.AutoTokenizer.from_pretrained(embedded_model_path)
    chat = tokenizer.apply_chat_template(
        chat_record(ROW, TOOLS)["messages"], return_dict=True, return_assistant_tokens_mask=True
    )
    assert len(chat["input_ids"]) > 0
    assert not any(chat["assistant_masks"])
    with pytest.raises(ValueError, match="not training-compatible"):
        chat_template_utils.get_training_chat_template(tokenizer)


def weights_of(model: Any) -> Any:
    return model.model.embed_tokens.weight.detach().clone()


def test_sft_takes_a_step(tokenizer: Any, model: Any, tmp_path):
    rows = loaded([chat_record(ROW, TOOLS)] * 2, tmp_path)
    arguments = trl.SFTConfig(assistant_only_loss=True, **settings_of_step(tmp_path))
    before = weights_of(model)
    trainer = trl.SFTTrainer(
        model=model, args=arguments, train_dataset=rows, processing_class=tokenizer
    )
    shown = tokenizer.decode(trainer.train_dataset[0]["input_ids"])
    for part in ("[sic]", '"arguments": {"input": "2 * 6"}', '"arguments": {}', "Says the day."):
        assert part in shown
    labels = trainer.train_dataset[0]["labels"]
    learnt = tokenizer.decode([label for label in labels if label != -100])
    # All of the text, both calls, and no result.
    assert "Die" in learnt
    assert " Mühle mahlt [sic] 6 Säcke, also" in learnt
    assert learnt.count("<tool_call>") == 2
    assert "Monday." not in learnt
    assert trainer.train().training_loss > 0
    assert not weights_of(model).equal(before)

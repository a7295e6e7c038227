"""What chat templates lose of a conversation, by templates that drop, keep and refuse."""

from pathlib import Path

import pytest

from tests.fakes import byte_tokenizer
from tests.toolformer.exports.test_records import TOOLS, call, row
from toolformer.errors import ModelNotFoundError
from toolformer.exports.records import chat_record, tool_schema
from toolformer.exports.template_check import ChatTemplate

TURN = "{{ '<' ~ m.role ~ '>' ~ m.content }}"
KEEPS = (
    "{% for t in tools %}{{ t.function | tojson }}{% endfor %}"
    f"{{% for m in messages %}}{TURN}{{% for c in m.tool_calls or [] %}}"
    "{{ c.function | tojson }}{% endfor %}{% endfor %}"
)
DROPS_CALLS = f"{{% for m in messages %}}{TURN}{{% endfor %}}"
# As Llama 3.1's.
DROPS_TEXT = KEEPS.replace(TURN, "{{ m.content if not m.tool_calls }}")
RAISES = "{% for m in messages %}{% if m.role not in ['user', 'assistant'] %}" + (
    "{{ raise_exception('Only user and assistant.') }}{% endif %}" + TURN + "{% endfor %}"
)
DROPS_SYSTEM = KEEPS.replace(TURN, f"{{% if m.role != 'system' %}}{TURN}{{% endif %}}")
TOOL_PARTS = {"a tool's name", "a tool's description"}
CALL_PARTS = {"a call's name", "a call's arguments"}
PARAMETER_PARTS = {"a parameter's name", "a parameter's description", "a parameter's type"}


def save_template(folder: Path, template: str | None) -> Path:
    """A directory of a tokenizer alone."""
    backend = byte_tokenizer().backend
    backend.chat_template = template
    backend.save_pretrained(folder)
    return folder


# The result stands in the text too, and the second call has no text before it.
RECORD = chat_record(
    row("So 0.29 or 0.29.", call(2), call(2, call_id="c2", arguments="0.29"), context="0.29?"),
    TOOLS,
)


@pytest.mark.parametrize(
    ("template", "lost"),
    [
        (KEEPS, set()),
        (DROPS_SYSTEM, set()),
        (DROPS_CALLS, CALL_PARTS | TOOL_PARTS | PARAMETER_PARTS),
        (DROPS_TEXT, {"the text before a call"}),
        (KEEPS.replace("c.function |", "c.function.name |"), {"a call's arguments"}),
        (KEEPS.replace("m.content", "(m.content if m.role != 'tool')"), {"a call's result"}),
        (
            KEEPS.replace("t.function", "t.function.name"),
            {"a tool's description"} | PARAMETER_PARTS,
        ),
        (RAISES, {"all of it"}),
    ],
)
def test_parts_that_a_template_loses_are_named(tmp_path, template: str, lost: set):
    assert set(ChatTemplate(save_template(tmp_path, template)).lost_parts(RECORD)) == lost


def test_an_argument_that_a_template_leaves_out_by_its_name_is_told(tmp_path):
    left_out = KEEPS.replace(
        "c.function | tojson",
        "c.function.name }}{% for name, value in c.function.arguments.items() "
        "if name != 'input' %}{{ name ~ value }}{% endfor %}{{ ''",
    )
    template = ChatTemplate(save_template(tmp_path, left_out))
    assert template.lost_parts(RECORD) == {"a call's arguments": "0.29"}


def test_lost_values_and_reasons_are_told(tmp_path):
    lost = ChatTemplate(save_template(tmp_path, DROPS_CALLS)).lost_parts(RECORD)
    assert lost["a call's name"] == "Calculator"
    assert lost["a call's arguments"] == "0.29"
    refused = ChatTemplate(save_template(tmp_path, RAISES)).lost_parts(RECORD)
    turns = "user, assistant, tool, assistant, tool, assistant"
    assert refused == {"all of it": f"Only user and assistant; turns: {turns}"}


CHOSEN = {
    "type": "object",
    "properties": {
        "type": {"type": "integer", "description": "How many to take."},
        "unit": {"anyOf": [{"enum": ["m", 12]}, {"type": "null"}]},
    },
    "required": ["type"],
}
# As templates that write parameters themselves, such as Gemma 4's and gpt-oss's.
PARAMETERS = KEEPS.replace(
    "t.function | tojson",
    "t.function.name ~ t.function.description }}{% set p = t.function.parameters %}"
    "{% for name in p.properties %}{% set one = p.properties[name] %}"
    "{{ name ~ one.description ~ one.type | upper ~ one.anyOf }}{% endfor %}{{ ''",
)


@pytest.mark.parametrize(
    ("template", "lost"),
    [
        (KEEPS, {}),
        (PARAMETERS, {}),
        # The names are still among those that are required, but for one.
        (PARAMETERS.replace("name ~ one", "p.required ~ one"), {"a parameter's name": "unit"}),
        (
            PARAMETERS.replace("one.description ~", ""),
            {"a parameter's description": "How many to take."},
        ),
        (PARAMETERS.replace("~ one.type | upper", ""), {"a parameter's type": "integer"}),
        (PARAMETERS.replace("~ one.anyOf", ""), {"a parameter's choices": "12"}),
        # As FunctionGemma's and Gemma 4's.
        (
            PARAMETERS.replace("in p.properties %", "in p.properties if name != 'type' %"),
            {"a parameter's name": "type", "a parameter's description": "How many to take."},
        ),
        (
            PARAMETERS.replace("in p.properties %", "in p.properties if name != 'unit' %"),
            {"a parameter's name": "unit", "a parameter's choices": "12"},
        ),
    ],
)
def test_lost_parameters_are_named_whatever_else_says_the_same(tmp_path, template: str, lost: dict):
    # The description of the tool and the texts say all that stands in its parameters.
    schema = tool_schema("Calculator", "type unit integer m 12. How many to take.", CHOSEN)
    record = {**RECORD, "tools": [schema]}
    assert ChatTemplate(save_template(tmp_path, template)).lost_parts(record) == lost


def test_a_system_message_is_a_part_too(tmp_path):
    system = {"role": "system", "content": "Be brief."}
    record = {**RECORD, "messages": [system, *RECORD["messages"]]}
    template = ChatTemplate(save_template(tmp_path, DROPS_SYSTEM))
    assert template.lost_parts(record) == {"the system message": "Be brief."}


def test_arguments_are_checked_as_they_are_exported(tmp_path):
    # As DeepSeek V3's, which joins them to a text.
    text = KEEPS.replace("c.function |", "(c.function.name + c.function.arguments) |")
    folder = save_template(tmp_path, text)
    assert ChatTemplate(folder, as_json=True).lost_parts(RECORD) == {}
    assert 'not "dict"' in ChatTemplate(folder).lost_parts(RECORD)["all of it"]


def test_a_directory_without_a_template_is_refused(tmp_path):
    with pytest.raises(ModelNotFoundError, match="The chat template in "):
        ChatTemplate(save_template(tmp_path / "plain", None))
    with pytest.raises(ModelNotFoundError, match="The chat template in "):
        ChatTemplate(tmp_path / "nothing")

"""Settings that messages, comments and documents name exist under that name."""

import inspect
import io
import re
import subprocess
import tokenize
from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import BaseModel

from dagster_project.settings.sections import Settings
from dagster_project.settings.tool_sections import PluginSettings
from tools.calculator import Calculator
from tools.calendar import Calendar
from tools.machine_translation import MachineTranslation
from tools.question_answering import QA
from tools.registry import TOOL_NAMES
from tools.wikipedia_search import WikiSearch

ROOT = Path(__file__).parents[2]
PACKAGES = ("assets", "dagster_project", "toolformer", "tools", "warehouse")
SECTIONS = {
    name
    for name, field in Settings.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
}
# Names of stages, which are taken for sections.
LIKE_SECTIONS = {"finetuning", "training_set", "filtering", "augmentation", "benchmarks"}
NAME = re.compile(
    rf"(?<![\w./{{-])((?:{'|'.join(sorted(SECTIONS | LIKE_SECTIONS))})"
    r"(?:\.[A-Za-z_*]\w*)+)(?![\w(/-]|:\w)"
)


def texts_of(file: Path) -> str:
    """What people read: of code its strings and comments."""
    text = file.read_text("utf-8")
    if file.suffix == ".sql":
        return "\n".join(re.findall("--.*", text))
    if file.suffix != ".py":
        return text
    kinds = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", -1)}
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return "\n".join(token.string for token in tokens if token.type in kinds)


def is_setting(name: str) -> bool:
    section, *rest = name.split(".")
    if section not in SECTIONS:
        return False
    if section != "tools":
        model = Settings.model_fields[section].annotation
        while len(rest) > 1 and rest[0] in fields_of(model):
            model = fields_of(model)[rest.pop(0)]
        return len(rest) == 1 and (rest[0] == "*" or rest[0] in fields_of(model))
    tool, *of_tool = rest
    if tool not in {*TOOL_NAMES, "others", "*"} and not tool[0].isupper():
        return False
    if not of_tool or (of_tool[0] in fields_of(PluginSettings) and len(of_tool) == 1):
        return True
    is_option = of_tool[0] == "options" and len(of_tool) == 2
    return is_option and (tool not in TOOL_NAMES or of_tool[1] in options_of(tool))


def fields_of(model: type | None) -> dict[str, type | None]:
    fields: Mapping = getattr(model, "model_fields", {})
    return {field.alias or name: field.annotation for name, field in fields.items()}


def options_of(tool: str) -> set[str]:
    tools = {each.name: each for each in (QA, WikiSearch, MachineTranslation, Calculator, Calendar)}
    return set(inspect.signature(tools[tool]).parameters)


def is_module(name: str) -> bool:
    """Whether a dotted name is a file, a module, or what a module defines."""
    if name.endswith((".md", ".py")):
        return True
    path = ROOT / name.replace(".", "/")
    if any(place.exists() for place in (path, path.with_suffix(".py"))):
        return True
    *_, module, member = name.split(".")
    files = (file for folder in PACKAGES for file in (ROOT / folder).glob(f"**/{module}.py"))
    named = re.compile(rf"^(?:def |class |){re.escape(member)}\b", re.MULTILINE)
    return any(named.search(file.read_text("utf-8")) for file in files)


def unknown_names(text: str) -> set[str]:
    return {name for name in NAME.findall(text) if not is_setting(name) and not is_module(name)}


def tracked() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "*.py", "*.md", "*.sql", "*.yaml"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split()
    # Tests make up names, and a change log keeps those of its day.
    return [name for name in listed if not name.startswith("tests/") and name != "CHANGELOG.md"]


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="is no checkout")
def test_every_setting_that_is_named_exists():
    found = {name: unknown_names(texts_of(ROOT / name)) for name in tracked()}
    assert {name: names for name, names in found.items() if names} == {}

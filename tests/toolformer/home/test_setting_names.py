"""Settings that messages, comments and documents name exist under that name."""

import inspect
import io
import re
import subprocess
import tokenize
from pathlib import Path

import pytest
from pydantic import BaseModel

from tests.assets.setting_effects import setting_paths
from toolformer.settings.sections import Settings
from toolformer.settings.tool_sections import PluginSettings
from tools.calculator import Calculator
from tools.calendar import Calendar
from tools.machine_translation import MachineTranslation
from tools.question_answering import QA
from tools.registry import TOOL_NAMES
from tools.wikipedia_search import WikiSearch

ROOT = Path(__file__).parents[3]
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
    section, first, *rest = name.split(".")
    if section != "tools":
        return any(
            path == name or path.startswith(f"{name}.")
            for path in (*setting_paths(), f"{section}.*" if section in SECTIONS else "")
        )
    if first not in {*TOOL_NAMES, "others", "from_mcp", "*"} and not first[0].isupper():
        return False
    match rest:
        case ["options", option]:
            return first not in TOOL_NAMES or option in options_of(first)
        case [field]:
            return field in {of.alias or name for name, of in PluginSettings.model_fields.items()}
    return not rest


def options_of(tool: str) -> set[str]:
    tools = {each.name: each for each in (QA, WikiSearch, MachineTranslation, Calculator, Calendar)}
    return set(inspect.signature(tools[tool]).parameters)


def is_module(name: str) -> bool:
    """Whether a dotted name is a file, a module, or what a module defines."""
    path = ROOT / name.replace(".", "/")
    if name.endswith((".md", ".py", ".yaml")) or path.exists() or path.with_suffix(".py").exists():
        return True
    *_, module, member = name.split(".")
    files = (file for folder in PACKAGES for file in (ROOT / folder).glob(f"**/{module}.py"))
    named = re.compile(rf"^(?:def |class |){re.escape(member)}\b", re.MULTILINE)
    return any(named.search(file.read_text("utf-8")) for file in files)


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="is no checkout")
def test_every_setting_that_is_named_exists():
    command = ["git", "ls-files", "*.py", "*.md", "*.sql", "*.yaml"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    # Tests make up names, and a change log keeps those of its day.
    files = {
        file
        for file in listed.stdout.split()
        if not file.startswith("tests/") and file != "CHANGELOG.md"
    }
    named = {(file, name) for file in files for name in NAME.findall(texts_of(ROOT / file))}
    unknown = {(file, name) for file, name in named if not is_setting(name) and not is_module(name)}
    assert unknown == set()

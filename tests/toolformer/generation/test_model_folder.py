"""`custom_generate/` in a model's directory: live calls for who has the model and no clone."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from transformers.dynamic_module_utils import get_imports, get_relative_imports

from tests.conftest import REPOSITORY
from tests.hub import READER, running_hub
from tests.toolformer.generation.conftest import LESSONS
from toolformer.generation import toolformer_generate
from toolformer.generation.model_folder import REQUIREMENTS, write_custom_generate
from tools.calculator import Calculator
from tools.plugins.function_tool import FunctionTool

# What transformers and torch bring.
BROUGHT = {"huggingface_hub", "numpy", "pydantic_core", "regex", "safetensors"}
TEXTS = ("6 times 7 is", "Ask my friend")
HUB_PAGE = (REPOSITORY / "docs" / "how-to" / "hub.md").read_text()
SCRIPT = """
import json, sys

# Installed or not: nothing of the project is there.
sys.modules.update(dict.fromkeys(("assets", "toolformer", "tools")))
folder, text, of_page = sys.argv[1:]
exec(of_page)
print(json.dumps(output[0].tolist()))

def Friend(who: str) -> str:
    return "yes"

model = AutoModelForCausalLM.from_pretrained(folder)
inputs = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
tools = ["Calculator", Friend]
options = dict(custom_generate=folder, trust_remote_code=True, max_new_tokens=60)
output = model.generate(**inputs, tools=tools, **options)
print(json.dumps(output[0].tolist()))

# Loaded so, it has the code in place of its own method.
model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)
output = model.generate(**inputs, tools=tools, **options)
print(json.dumps(output[0].tolist()))
ids, mask = inputs["input_ids"], inputs["attention_mask"]
output = model.generate(ids, attention_mask=mask, tools=tools, max_new_tokens=60)
print(json.dumps(output[0].tolist()))
"""


@pytest.fixture(scope="module")
def folder(taught_directory: Path) -> Path:
    write_custom_generate(taught_directory)
    return taught_directory


@pytest.mark.slow
def test_who_has_the_model_decodes_with_calls_and_needs_no_clone(
    folder, model, tokenizer, tmp_path
):
    def friend(who: str) -> str:
        """Says yes."""
        assert who == "me"
        return "yes"

    tools = [Calculator(), FunctionTool.from_function(friend, name="Friend")]
    expected = [
        model.generate(
            **tokenizer(text, return_tensors="pt"),
            custom_generate=toolformer_generate,
            tools=tools,
            max_new_tokens=60,
        )[0].tolist()
        for text in TEXTS
    ]
    assert tokenizer.decode(expected[0]).startswith(LESSONS[0])
    assert tokenizer.decode(expected[1]).startswith(LESSONS[3])
    with running_hub() as hub:
        hub.repositories["ada/taught"] = [
            {
                path.relative_to(folder).as_posix(): path.read_bytes()
                for path in folder.rglob("*")
                if path.is_file()
            }
        ]
        outside = {
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(tmp_path),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_OFFLINE": "0",
            "HF_TOKEN": READER,
            "OMP_NUM_THREADS": "1",
        }
        (of_page,) = re.findall(r"(?ms)^```python\n(.*?)^```$", HUB_PAGE)
        of_page = of_page.replace("OWNER/MODEL", "ada/taught")
        of_page = of_page.replace("A dozen boxes of 12 are", TEXTS[0])
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(folder), TEXTS[1], of_page],
            cwd=tmp_path,
            env={name: os.environ[name] for name in os.environ if name != "PYTHONPATH"} | outside,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    of_page, *outputs = [json.loads(line) for line in done.stdout.splitlines()]
    assert of_page == expected[0]
    assert outputs == [expected[1]] * 3


def test_each_file_finds_what_it_imports(folder):
    files = {file.stem: file for file in (folder / "custom_generate").glob("*.py")}
    assert "generate" in files
    for file in files.values():
        assert set(get_relative_imports(file)) <= files.keys()
        assert not {"assets", "toolformer", "tools"} & set(get_imports(file))
    foreign = {name for file in files.values() for name in get_imports(file)}
    required = {re.split("[<>=]", line)[0] for line in REQUIREMENTS.split()}
    assert foreign - sys.stdlib_module_names == required | BROUGHT
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    for line in REQUIREMENTS.split():
        assert any(each.split(",")[0] == line for each in project["dependencies"]), line


def test_writing_it_again_leaves_nothing_of_before(folder):
    (folder / "custom_generate" / "old.py").touch()
    write_custom_generate(folder)
    assert not (folder / "custom_generate" / "old.py").exists()
    assert (
        folder / "custom_generate" / "requirements.txt"
    ).read_text().splitlines() == REQUIREMENTS.split()

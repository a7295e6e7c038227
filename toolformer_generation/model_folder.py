"""Live calls for those who get a model and not this project: `custom_generate/` in its directory.

    toolformer/decoding/decoder.py   from toolformer.calls import …    of the project
    toolformer__decoding__decoder.py   from .toolformer__calls import …  in the directory

Transformers copies `generate.py` and the files that it imports relatively, from one folder. So each
module that is needed becomes a file there, under a name of its own, with its imports rewritten.
"""

import re
from importlib.util import find_spec
from pathlib import Path

from toolformer.files.whole_files import replacing_folder
from toolformer_generation import defaults

FOLDER = "custom_generate"
# Of pyproject.toml, in the form that transformers reads.
REQUIREMENTS = (
    "torch>=2.13",
    "transformers>=5.20",
    "accelerate>=1.10",
    "diskcache>=5.6",
    "psutil>=6",
    "pydantic>=2.10",
    "tenacity>=9",
)
_ENTRY = "toolformer_generation.folder_generate"
_OURS = ("toolformer", "toolformer_generation", "tools")
_IMPORT = re.compile(rf"^( *from )((?:{'|'.join(_OURS)})\.[\w.]+)(?= import)", re.MULTILINE)


def write_custom_generate(directory: Path) -> None:
    """Write `custom_generate/` into a model's directory; an earlier one is replaced.

    Raises:
        OSError: it cannot be written.
    """
    written: dict[str, str] = {}
    wanted = [_ENTRY]
    while wanted:
        module = wanted.pop()
        if module not in written:
            written[module] = source = _source(module)
            wanted += [found[2] for found in _IMPORT.finditer(source)]
    with replacing_folder(directory / FOLDER) as folder:
        for module, source in written.items():
            text = _IMPORT.sub(lambda found: f"{found[1]}.{_file_name(found[2])}", source)
            (folder / f"{_file_name(module)}.py").write_text(text, encoding="utf-8")
        (folder / "requirements.txt").write_text("\n".join(REQUIREMENTS) + "\n")


def _source(module: str) -> str:
    if module == defaults.__name__:
        numbers = {name: value for name, value in vars(defaults).items() if name.isupper()}
        lines = [f"{name} = {value!r}" for name, value in numbers.items() if name[0] != "_"]
        return "\n".join([f'"""{defaults.__doc__}"""\n', *lines, ""])
    specification = find_spec(module)
    assert specification is not None
    assert specification.origin is not None
    return Path(specification.origin).read_text(encoding="utf-8")


def _file_name(module: str) -> str:
    return "generate" if module == _ENTRY else module.replace(".", "__")

"""Live calls for those who get a model and not this project: `custom_generate/` in its folder.

Transformers copies `generate.py` and what it imports relatively, from one folder. So each module
that is needed becomes a file there under a name of its own, with its imports rewritten.
"""

import re
from importlib.util import find_spec
from pathlib import Path

from toolformer.base.whole_files import replacing_folder

# Of pyproject.toml, in the form that transformers reads.
REQUIREMENTS = "torch>=2.13 transformers>=5.20 accelerate>=1.10 diskcache>=5.6 psutil>=6 "
REQUIREMENTS += "pydantic>=2.10 tenacity>=9.2"
_GENERATE = '''"""Decoding with live calls; toolformer_generate says what it takes."""

from transformers import GenerationMixin

from .toolformer__generation__generate import toolformer_generate


# A model that is loaded with trust_remote_code has this in place of its own method.
def generate(inputs=None, *, model, custom_generate=None, **options):
    options["custom_generate"] = toolformer_generate
    return GenerationMixin.generate(model, inputs, **options)
'''
_IMPORT = re.compile(r"^( *from )((?:toolformer|tools)\.\S+)", re.MULTILINE)


def write_custom_generate(directory: Path) -> None:
    """Write `custom_generate/` into a model's folder; an earlier one is replaced.

    Raises:
        OSError: it cannot be written.
    """
    sources: dict[str, str] = {}
    wanted = ["toolformer.generation.generate"]
    while wanted:
        if (module := wanted.pop()) not in sources:
            sources[module] = Path(str(getattr(find_spec(module), "origin", ""))).read_text("utf-8")
            wanted += [found[2] for found in _IMPORT.finditer(sources[module])]
    with replacing_folder(directory / "custom_generate") as folder:
        for module, source in sources.items():
            text = _IMPORT.sub(lambda found: f"{found[1]}.{found[2].replace('.', '__')}", source)
            (folder / f"{module.replace('.', '__')}.py").write_text(text, encoding="utf-8")
        (folder / "generate.py").write_text(_GENERATE)
        (folder / "requirements.txt").write_text(REQUIREMENTS.replace(" ", "\n") + "\n")

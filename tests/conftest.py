"""Fixtures shared by all tests."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.outside import Outside

REPOSITORY = Path(__file__).parent.parent

# A quarter of Hypothesis's own number, in each run; HYPOTHESIS_PROFILE=default for all of them.
settings.register_profile("short", max_examples=25)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "short"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fuzz-strings",
        type=int,
        default=500,
        help="odd strings for each tool that asks a model; a fiftieth of them where it is real",
    )


@pytest.fixture(scope="session")
def fuzz_strings(pytestconfig: pytest.Config) -> int:
    return pytestconfig.getoption("--fuzz-strings")


@pytest.fixture(scope="session")
def vectors() -> dict:
    """The test vectors: numbers worked out by hand and in exact fractions."""
    import json

    return json.loads((REPOSITORY / "tests" / "vectors" / "vectors.json").read_text())


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Real documents and benchmarks, where a folder with them is given."""
    folder = os.environ.get("TOOLFORMER_TEST_DATA")
    if not folder:
        pytest.skip("TOOLFORMER_TEST_DATA is not set: no folder with real documents")
    return Path(folder)


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Outside]:
    """A folder on the path for tools from outside; what is imported from it is forgotten."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    yield Outside(folder)
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "")).startswith(str(folder)):
            del sys.modules[name]


@pytest.fixture(scope="session")
def models_folder() -> Path:
    """Where the converted embedded model is kept between test runs."""
    home = Path(os.environ.get("TOOLFORMER_HOME", REPOSITORY / "data"))
    return home / "models"


@pytest.fixture(scope="session")
def embedded_model_path(models_folder: Path) -> Path:
    from toolformer.forward.embedded_model import ensure_embedded_model

    return ensure_embedded_model(models_folder)


@pytest.fixture(scope="session")
def embedded_model(embedded_model_path: Path):
    """The embedded language model in float32."""
    from toolformer.forward.language_model import LanguageModel

    return LanguageModel.load(embedded_model_path, precision="float32", device="cpu")

"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent


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


@pytest.fixture(scope="session")
def models_folder() -> Path:
    """Where the converted embedded model is kept between test runs."""
    home = Path(os.environ.get("TOOLFORMER_HOME", REPOSITORY / "data"))
    return home / "models"


@pytest.fixture(scope="session")
def embedded_model_path(models_folder: Path) -> Path:
    from toolformer.embedded_model import ensure_embedded_model

    return ensure_embedded_model(models_folder)


@pytest.fixture(scope="session")
def embedded_model(embedded_model_path: Path):
    """The embedded language model in float32."""
    from toolformer.language_model import LanguageModel

    return LanguageModel.load(embedded_model_path, precision="float32", device="cpu")

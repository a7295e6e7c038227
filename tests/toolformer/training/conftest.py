import pytest

from tests.toolformer.training.tiny import save_base


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_base(folder)
    return folder

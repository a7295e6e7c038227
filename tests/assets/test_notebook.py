"""The notebook of the examples: nothing of a run is in it, and it runs over a home."""

import json

import pytest

from tests.assets.conftest import PipelineHome
from tests.conftest import REPOSITORY

NOTEBOOK = REPOSITORY / "examples" / "explore.ipynb"


def test_the_notebook_holds_no_output():
    cells = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert len(code) == 5
    assert [(cell["outputs"], cell["execution_count"]) for cell in code] == [([], None)] * 5


@pytest.mark.slow
def test_the_notebook_runs_over_a_home(built_home: PipelineHome, monkeypatch):
    nbformat = pytest.importorskip("nbformat", reason="needs the extra `clients`")
    nbclient = pytest.importorskip("nbclient", reason="needs the extra `clients`")
    pytest.importorskip("ipykernel", reason="needs the extra `clients`")
    monkeypatch.setenv("TOOLFORMER_HOME", str(built_home.root))
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    shown = [
        {kind for output in cell["outputs"] for kind in output["data"]}
        for cell in notebook["cells"]
        if cell["cell_type"] == "code"
    ]
    assert "text/html" in shown[0] & shown[1] & shown[4]
    assert "image/png" in shown[2]
    assert shown[3] == {"text/plain"}

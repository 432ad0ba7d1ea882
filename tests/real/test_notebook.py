"""The notebook runs from its first cell to its last, on the real model."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).resolve().parents[2] / "docs" / "notebooks" / "compare.ipynb"


@pytest.fixture(scope="module")
def printed(hub, tmp_path_factory):
    """What each cell of the executed notebook printed, by the cell's id."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    folder = tmp_path_factory.mktemp("notebook")
    NotebookClient(notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": folder}}).execute()
    return {
        cell["id"]: "".join(output.get("text", "") for output in cell["outputs"])
        for cell in notebook.cells
        if cell["cell_type"] == "code"
    }


def test_it_is_a_valid_notebook_without_results():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert [cell["outputs"] for cell in notebook.cells if cell["cell_type"] == "code"] == [[]] * 6


def test_it_prints_both_tasks_with_their_verdicts(printed):
    lines = printed["record"].splitlines()
    assert [line.partition(":")[0] for line in lines] == ["arc_easy", "lambada_openai"]
    assert all(line.rpartition(", ")[2] in ("PASS", "FAIL", "INCONCLUSIVE") for line in lines)
    assert printed["report"].startswith("# What `student` kept of `SmolLM2-135M-Instruct`")

"""The page and the notebook that show the Python API: they run as they stand."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

import medfl
from medfl.runs import read_history

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "docs" / "notebook.ipynb"


@pytest.mark.slow
def test_the_code_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sample_configs").symlink_to(ROOT / "sample_configs")
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        exec(block, names)  # the page's own code, as a reader would run it
    assert [summary.status for summary in medfl.list_runs()] == ["completed", "stopped"]


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    (tmp_path / "sample_configs").symlink_to(ROOT / "sample_configs")
    (tmp_path / "docs").mkdir()
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path / "docs")}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    shown = [output.data["text/html"] for output in outputs if "text/html" in output.get("data", {})]
    assert [("medfl-card" in html, "<table" in html) for html in shown] == [(True, True), (True, False), (True, True)] + [
        (False, True)
    ] * 2
    assert "the run is over: completed." in "".join(output.text for output in outputs if output.output_type == "stream")


def test_the_notebook_is_kept_without_outputs() -> None:
    cells = [cell for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)


@pytest.mark.slow
def test_interrupting_a_cell_stops_the_run_and_leaves_a_working_kernel(
    nodule_study: Path, nodule_hospitals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    call = f"medfl.simulate(study, {str(nodule_hospitals)!r}, {str(tmp_path / 'runs')!r}, workers=1, progress=print)"
    cells = [
        f"import medfl; study = medfl.open_study({str(nodule_study)!r}).change(rounds=100_000)",
        call,
        "import multiprocessing; multiprocessing.active_children()",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    client = NotebookClient(notebook, timeout=120, allow_errors=True, kernel_name="python3")

    def interrupt_after_a_round() -> None:
        while not any(event["event"] == "round" for run in tmp_path.glob("runs/*/*") for event in read_history(run)):
            time.sleep(0.2)
        asyncio.run(client.km.interrupt_kernel())

    watcher = threading.Thread(target=interrupt_after_a_round, daemon=True)
    watcher.start()
    client.execute()
    (error,) = [output for output in notebook.cells[1].outputs if output.output_type == "error"]
    assert error.ename == "KeyboardInterrupt"
    assert "Go on after the last complete round, to the same numbers: medfl resume" in error.traceback[-1]
    assert [output.data["text/plain"] for output in notebook.cells[2].outputs] == ["[]"]
    assert [summary.status for summary in medfl.list_runs(tmp_path / "runs")] == ["stopped"]

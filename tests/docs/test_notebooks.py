"""The notebooks run, and hold neither outputs nor anything of the machine they were written on."""

import re
from pathlib import Path

import pytest

import criteo_stream
from tests.support.paths import REAL_DATA, REPOSITORY

nbformat = pytest.importorskip("nbformat")

EXAMPLES = REPOSITORY / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
REAL_ROWS = REAL_DATA / "criteo_kaggle_dev.tsv.gz"
IMPORT = re.compile(r"^ *from (criteo_stream[\w.]*) import (\([^)]*\)|.*)", re.MULTILINE)
NOT_PUBLIC = {("criteo_stream.synthetic", "write_synthetic")}
ROW = re.compile(r"[0-9a-f]{8}(?:\W|\\t|td)+[0-9a-f]{8}")
"""Two values of categorical columns side by side."""


def cells_of(path: Path, kind: str) -> list[str]:
    return [c.source for c in nbformat.read(path, 4).cells if c.cell_type == kind]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_valid_and_without_outputs(path: Path) -> None:
    notebook = nbformat.read(path, 4)
    nbformat.validate(notebook)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert notebook.metadata.kernelspec.name == "python3"
    for cell in notebook.cells:
        assert not cell.metadata
        assert cell.source.strip()
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
    assert not ROW.search(path.read_text())
    assert len(cells_of(path, "markdown")) >= 8


def test_a_row_would_be_found() -> None:
    for tab in ("\t", "\\t", '", "', "</td><td>"):
        assert ROW.search(tab.join(["1", "3", "", "0123abcd", "4567cdef", "89ab0123"])), tab


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_imports_public_names(path: Path) -> None:
    found = [
        (module, name)
        for source in cells_of(path, "code")
        for module, names in IMPORT.findall(source)
        for name in re.findall(r"\w+", names)
    ]
    assert found
    for module, name in set(found) - NOT_PUBLIC:
        assert module == "criteo_stream"
        assert name in criteo_stream.__all__, name


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    work = tmp_path / "work"
    monkeypatch.setenv("CRITEO_WORK", str(work))
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.delenv("MPLBACKEND", raising=False)  # the command line's, which shows nothing
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    if REAL_ROWS.exists():
        monkeypatch.setenv("CRITEO_RAW", str(REAL_ROWS))
    else:
        monkeypatch.delenv("CRITEO_RAW", raising=False)
    notebook = run(path, tmp_path)
    outputs = [o for c in notebook.cells if c.cell_type == "code" for o in c.outputs]
    shown = {kind for output in outputs for kind in output.get("data", {})}
    assert {"text/html", "image/png"} <= shown
    assert not [o for o in outputs if o.get("name") == "stderr" and "Warning" in o["text"]]
    assert {entry.name for entry in tmp_path.iterdir()} <= {
        "work",
        "ipythondir",
        "jupyter_runtime_dir",
        "jupyter_config_dir",
    }
    assert (work / "data" / "manifest.json").exists()
    if path.stem == "kaggle_sample":
        assert (work / "report.html").stat().st_size > 50_000


def test_without_a_raw_log_rows_are_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the cells as far as the data set, which differ then."""
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setenv("CRITEO_WORK", str(tmp_path / "work"))
    monkeypatch.delenv("CRITEO_RAW", raising=False)
    notebook = run(EXAMPLES / "kaggle_sample.ipynb", tmp_path, code_cells=2)
    assert (tmp_path / "work" / "synthetic.tsv").exists()
    assert (tmp_path / "work" / "data" / "manifest.json").exists()
    assert len([cell for cell in notebook.cells if cell.cell_type == "code"]) == 2


def run(path: Path, folder: Path, code_cells: int | None = None) -> "nbformat.NotebookNode":
    """Execute a notebook in a folder, or its first cells of code."""
    from nbclient import NotebookClient

    notebook = nbformat.read(path, 4)
    if code_cells is not None:
        notebook.cells = [c for c in notebook.cells if c.cell_type == "code"][:code_cells]
    client = NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute()
    return notebook


def test_the_examples_are_listed() -> None:
    text = (EXAMPLES / "README.md").read_text()
    for entry in EXAMPLES.iterdir():
        assert entry.name == "README.md" or f"]({entry.name})" in text, entry.name
    for target in re.findall(r"\]\(([^)]+)\)", text):
        assert (EXAMPLES / target).exists(), target


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_links_of_a_notebook_lead_somewhere(path: Path) -> None:
    for source in cells_of(path, "markdown"):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", source):
            assert (EXAMPLES / target).exists(), target

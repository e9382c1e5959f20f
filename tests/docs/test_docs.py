"""Every command and every program that the documents show is run, in their order.

Blocks marked ``sh`` and ``python`` run in a folder with small raw logs of the names that the
documents use, but for a program that begins with a file's name, which is put there; other blocks
are not commands.
"""

import gzip
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import picture
from tests.support import processes
from tests.support.archives import zipped
from tests.support.paths import REPOSITORY
from tests.support.raw_lines import raw_lines, reczoo_lines, write_raw
from tools import document_options

DOCUMENTS = ["README.md", *(f"docs/{path.name}" for path in sorted(REPOSITORY.glob("docs/*.md")))]
LINKED = [
    "CONTRIBUTING.md",
    "benchmarks/LOG.md",
    "benchmarks/README.md",
    "benchmarks/results/README.md",
    "examples/README.md",
]
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


def blocks(document: str) -> list[tuple[str, str]]:
    """Language and text of each block that is run."""
    text = (REPOSITORY / document).read_text()
    return [(match[1], match[2]) for match in BLOCK.finditer(text)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Raw logs of all layouts."""
    lines = raw_lines(6000, seed=4)
    write_raw(tmp_path / "train.txt", lines)
    write_raw(tmp_path / "test.txt", [line.split(b"\t", 1)[1] for line in lines[:500]])
    for day in range(3):
        text = b"".join(line + b"\n" for line in lines[2000 * day : 2000 * (day + 1)])
        (tmp_path / f"day_{day}.gz").write_bytes(gzip.compress(text, 1))
    for name, part in (
        ("train", lines[:4000]),
        ("valid", lines[4000:5000]),
        ("test", lines[5000:]),
    ):
        write_raw(tmp_path / f"{name}.csv", reczoo_lines(part))
    names = ("train.csv", "valid.csv", "test.csv")
    archive = zipped({name: (tmp_path / name).read_bytes() for name in names})
    (tmp_path / "Criteo_x4.zip").write_bytes(archive)
    return tmp_path


@pytest.mark.parametrize("document", [d for d in DOCUMENTS if blocks(d)])
def test_what_the_documents_show_works(document: str, folder: Path) -> None:
    for language, text in blocks(document):
        if name := re.match(r"# (\w+\.py)\n", text):
            (folder / name[1]).write_text(text)
        elif language == "python":
            assert_works(processes.run_code(text, folder), text)
        else:
            for line in text.replace("\\\n", " ").splitlines():
                assert_works(run_line(line, folder), line)


def run_line(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a line of a shell; our own commands in a process that has torch loaded already."""
    if line.startswith("criteo-stream "):
        words = [
            [str(p) for p in sorted(folder.glob(word))] or [word] for word in shlex.split(line)[1:]
        ]
        return processes.run([word for found in words for word in found], {}, folder)
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{folder}",
    }
    command = ["bash", "-euo", "pipefail", "-c", line]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def assert_works(done: subprocess.CompletedProcess[str], what: str) -> None:
    assert not done.returncode, f"{what}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


@pytest.mark.parametrize("document", [*DOCUMENTS, *LINKED])
def test_links_lead_somewhere(document: str) -> None:
    path = REPOSITORY / document
    for target in LINK.findall(path.read_text()):
        assert (path.parent / target).exists(), f"{document} links to {target}"


def test_the_table_names_every_folder() -> None:
    table = (REPOSITORY / "docs" / "how-it-works.md").read_text()
    for path in (REPOSITORY / "criteo_stream").glob("*/__init__.py"):
        assert f"| `{path.parent.name}/` |" in table, path


def test_the_readme_is_one_page() -> None:
    assert len((REPOSITORY / "README.md").read_text().split()) < 900


def test_the_picture_draws_the_table(tmp_path: Path) -> None:
    rows = picture.peers((REPOSITORY / "benchmarks" / "README.md").read_text())
    own, *others = rows
    told = (REPOSITORY / "README.md").read_text()
    assert own.label.startswith("criteo-stream")
    assert len(others) == 4
    assert f"prepares {own.prepare / 1000:.0f} k rows/s" in told
    assert f"test AUC of {own.auc:.4f}".replace("0.", ".") in told
    assert f"prepares {max(row.prepare for row in others) / 1000:.0f} k" in told
    assert f"reaches {max(row.auc for row in others):.4f}".replace("0.", ".") in told
    picture.draw(rows, tmp_path / "images" / "peers.svg")
    assert (tmp_path / "images" / "peers.svg").read_text().count(
        "<path"
    ) > 15 + 50  # bars, and letters


def test_the_targets_that_the_readme_names_exist() -> None:
    targets = re.findall(r"^([a-z]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    for name in re.findall(r"`make ([a-z]+)", (REPOSITORY / "README.md").read_text()):
        assert name in targets, name


def test_the_table_of_options_is_current() -> None:
    assert (REPOSITORY / "docs" / "options.md").read_text() == document_options.text()


def test_every_test_that_a_document_names_exists() -> None:
    code = "\n".join(path.read_text() for path in (REPOSITORY / "tests").rglob("*.py"))
    for document in DOCUMENTS:
        text = (REPOSITORY / document).read_text()
        for path in re.findall(r"`(tests/[\w/]+\.py)", text):
            assert (REPOSITORY / path).exists(), f"{document} names {path}"
        for name in re.findall(r"\b(test_\w+)`", text):
            assert f"def {name}(" in code, f"{document} names {name}"

"""The wheel and the source distribution hold what an installation needs, and run."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.support.paths import REPOSITORY

pytestmark = pytest.mark.slow  # builds in an environment of its own


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel made of the source distribution, as an installer makes it."""
    folder = tmp_path_factory.mktemp("built")
    script = (
        "import sys; from hatchling.builders.sdist import SdistBuilder; "
        "print(next(SdistBuilder(sys.argv[1]).build(directory=sys.argv[2])))"
    )
    environment = folder / "environment"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    pip = [environment / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "install", "hatchling"], check=True)
    builder = [environment / "bin" / "python", "-c", script, REPOSITORY, folder]
    made = subprocess.run(builder, check=True, capture_output=True, text=True)
    source = made.stdout.strip()
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", folder, source], check=True)
    return folder


def test_what_is_packed(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    package = REPOSITORY / "criteo_stream"
    for path in package.rglob("*"):
        if path.suffix in (".py", ".html", ".css", ".js", ".typed"):
            assert str(path.relative_to(REPOSITORY)) in names, path
    assert not {name for name in names if name.startswith(("tests/", "benchmarks/"))}
    (source,) = built.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    assert {
        "README.md",
        "LICENSE",
        "CITATION.cff",
        "CONTRIBUTING.md",
        "Makefile",
        "constraints.txt",
        "constraints-lowest.txt",
        ".ci/run",
        ".github/workflows/test.yml",
        ".pre-commit-config.yaml",
        "tests/conftest.py",
        "tools/synthesize.py",
    } <= packed


def test_the_wheel_runs_away_from_the_repository(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    installed = tmp_path / "installed"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
    subprocess.run([*install, installed, wheel], check=True)
    done = subprocess.run(
        [sys.executable, "-m", "criteo_stream", "demo", "--rows", "20k", "--quiet"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        check=True,
        capture_output=True,
        text=True,
    )
    assert "test AUC" in done.stdout
    where = [sys.executable, "-c", "import criteo_stream; print(criteo_stream.__file__)"]
    found = subprocess.run(
        where,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        check=True,
        capture_output=True,
        text=True,
    )
    assert Path(found.stdout.strip()).is_relative_to(installed)

"""Floors: which folder of the package may import which, checked on the source.

Imports go down only: a folder imports folders above it in `ALLOWED`, never the other way round.
``if TYPE_CHECKING`` and imports inside functions count like any other.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.support.paths import REPOSITORY

PACKAGE = REPOSITORY / "criteo_stream"
MODULES = sorted(PACKAGE.rglob("*.py"))

ALLOWED: dict[str, set[str]] = {
    "base": set(),
    "data": {"base"},
    "metrics": {"base", "data"},
    "runs": {"base", "data", "metrics"},
    "raw": {"base", "data"},
    "prepare": {"base", "data", "raw"},
    "synthetic": {"base", "metrics"},
    "sparse": set(),
    "models": {"base", "data", "runs", "sparse"},
    "predict": {"base", "data", "metrics", "models", "prepare", "raw", "runs", "sparse"},
    "train": {"base", "data", "metrics", "models", "predict", "runs", "sparse"},
    "daily": {"base", "data", "metrics", "predict", "prepare", "raw", "runs", "train"},
    "report": {"base", "data", "metrics", "models", "predict", "prepare", "raw", "runs"},
    "cli": {
        "base", "daily", "predict", "prepare", "raw", "report", "runs", "synthetic", "train",
    },
}  # fmt: skip
"""Every folder in the order of the floors, and the folders that it may import."""

WITHOUT_TORCH = [
    "criteo_stream",
    "criteo_stream.cli",
    "criteo_stream.raw",
    "criteo_stream.prepare",
    "criteo_stream.synthetic",
    "criteo_stream.data.manifest",
    "criteo_stream.data.order",
    "criteo_stream.data.shards",
    "criteo_stream.metrics.auc",
    "criteo_stream.metrics.intervals",
    "criteo_stream.metrics.scores",
    "criteo_stream.runs.config",
    "criteo_stream.runs.execution",
    "criteo_stream.runs.history",
]
"""Modules that must be importable without loading torch, by whatever way."""

HEAVY = {
    "torch", "polars", "pyarrow", "numpy", "matplotlib", "safetensors", "jinja2", "plotly",
}  # fmt: skip


def module_name(path: Path) -> str:
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {module_name(path) for path in MODULES}


def imports(path: Path) -> Iterator[str]:
    """Modules that a file imports, anywhere in it; ``from package import module`` is the module."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module, f"{path} has a relative import"
            assert not node.level, f"{path} has a relative import"
            for alias in node.names:
                module = f"{node.module}.{alias.name}"
                yield module if module in NAMES else node.module


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def folder_of(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "criteo_stream" and len(parts) > 1 else None


def test_every_folder_is_named_and_they_are_few() -> None:
    folders = {path.parent.name for path in PACKAGE.glob("*/*.py")}
    assert folders == ALLOWED.keys()
    assert len(folders) <= 14
    assert {path.name for path in PACKAGE.glob("*.py")} == {"__init__.py", "__main__.py"}


def test_the_floors_are_in_order() -> None:
    lower: set[str] = set()
    for folder, allowed in ALLOWED.items():
        assert allowed <= lower, f"{folder} is allowed a folder of its own floor or above"
        lower.add(folder)


@pytest.mark.parametrize("folder", ALLOWED)
def test_a_folder_imports_only_what_it_may(folder: str) -> None:
    found = {
        f"{path.relative_to(PACKAGE)} imports {module}"
        for path in (PACKAGE / folder).rglob("*.py")
        for module in imports(path)
        if within(module, "criteo_stream")
        and folder_of(module) not in ALLOWED[folder] | {folder, None}
    }
    assert not found


@pytest.mark.parametrize("folder", ALLOWED)
def test_nothing_that_is_allowed_goes_unused(folder: str) -> None:
    used = {folder_of(module) for p in (PACKAGE / folder).rglob("*.py") for module in imports(p)}
    assert ALLOWED[folder] <= used


def test_no_module_imports_itself_by_a_detour() -> None:
    graph = {
        module_name(path): {module for module in imports(path) if module in NAMES}
        for path in MODULES
        if path.parent != PACKAGE
    }
    # A package's own __init__ collects what its modules make; they do not read it.
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("module", WITHOUT_TORCH)
def test_torch_is_not_loaded(module: str) -> None:
    script = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.parametrize(
    "arguments", [["--help"], ["train", "data", "--out", "run", "--model", "deepfn"]]
)
def test_help_and_a_misspelt_model_load_nothing_heavy(arguments: list[str]) -> None:
    script = (
        "import sys, contextlib, criteo_stream.cli as c\n"
        f"with contextlib.suppress(SystemExit): c.main({arguments})\n"
        f"sys.exit(', '.join({HEAVY!r} & sys.modules.keys()) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_nothing_unpickles() -> None:
    for path in MODULES:
        names = set(imports(path))
        assert not {n for n in names if within(n, "pickle") or within(n, "joblib")}, path
        assert "torch.load(" not in path.read_text(), path

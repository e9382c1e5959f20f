"""Data flows one way: what each module may import, checked on the source."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "criteo_stream"
MODULES = sorted(PACKAGE.rglob("*.py"))

# What must never be imported, by the beginning of a module's path below the package.
FORBIDDEN = {
    # The prepare side and the synthetic logs know nothing of training.
    "prepare/": {"torch", "criteo_stream.dataset", "criteo_stream.models", "criteo_stream.session"},
    "synthetic/": {"torch", "criteo_stream.prepare", "criteo_stream.dataset"},
    "shards.py": {"torch", "criteo_stream.prepare", "polars"},
    "manifest.py": {"torch", "polars", "pyarrow", "criteo_stream.prepare"},
    "storage.py": {"torch", "polars", "pyarrow"},
    "errors.py": {"criteo_stream"},
    "schema.py": {"criteo_stream"},
    # The order of rows is arithmetic.
    "order.py": {"torch", "polars", "pyarrow", "criteo_stream.shards", "criteo_stream.manifest"},
    "lanes.py": {"torch", "criteo_stream.prepare"},
    # The training side learns of the data from the manifest only.
    "dataset.py": {"criteo_stream.prepare", "criteo_stream.models"},
    "loader.py": {"criteo_stream.prepare", "criteo_stream.models"},
    "grouping.py": {"criteo_stream"},
    "interaction.py": {"criteo_stream.models", "criteo_stream.optim", "criteo_stream.prepare"},
    "projection.py": {"criteo_stream.models", "criteo_stream.optim", "criteo_stream.prepare"},
    "models/": {"criteo_stream.prepare", "criteo_stream.session", "criteo_stream.optim"},
    "metrics.py": {"criteo_stream.prepare", "criteo_stream.models", "criteo_stream.dataset"},
    "intervals.py": {"torch", "criteo_stream"},
    "scores.py": {"torch"},
    "session.py": {"criteo_stream.prepare", "polars"},
    "export/": {"criteo_stream.session", "criteo_stream.trainer"},
    "board.py": {"criteo_stream.session", "polars"},
    "report/": {"criteo_stream.session", "criteo_stream.trainer"},
    "checkpoint.py": {"criteo_stream.models", "criteo_stream.prepare", "criteo_stream.session"},
    "evaluation.py": {"criteo_stream.prepare", "criteo_stream.session"},
    "comparison.py": {"criteo_stream.prepare", "criteo_stream.session"},
    "loading.py": {"criteo_stream.prepare", "criteo_stream.session"},
}
HEAVY = (
    "torch",
    "polars",
    "pyarrow",
    "numpy",
    "matplotlib",
    "torchmetrics",
    "safetensors",
    "jinja2",
)


def imports(path: Path, *, top_level: bool = False) -> Iterator[str]:
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


@pytest.mark.parametrize("start", FORBIDDEN)
def test_nothing_flows_back(start: str) -> None:
    paths = [p for p in MODULES if str(p.relative_to(PACKAGE)).startswith(start)]
    assert paths, f"no module {start}: mend the table above"
    found = {
        f"{path.relative_to(PACKAGE)} imports {name}"
        for path in paths
        for name in imports(path)
        for package in FORBIDDEN[start]
        if within(name, package)
    }
    assert not found


@pytest.mark.parametrize("name", ["__init__.py", "__main__.py", "cli.py", "errors.py"])
def test_help_loads_nothing_heavy(name: str) -> None:
    loaded = {m for m in imports(PACKAGE / name, top_level=True) for h in HEAVY if within(m, h)}
    assert not loaded


def test_nothing_unpickles() -> None:
    for path in MODULES:
        names = set(imports(path))
        assert not {n for n in names if within(n, "pickle") or within(n, "joblib")}, path
        assert "torch.load(" not in path.read_text(), path

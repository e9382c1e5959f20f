"""What users import is public, loads, and is all that the documents import."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import criteo_stream
from tests.support.paths import REPOSITORY

DOCUMENTS = [
    *REPOSITORY.glob("*.md"),
    *REPOSITORY.glob("docs/**/*.md"),
    *REPOSITORY.glob("examples/**/*.py"),
]
IMPORT = re.compile(r"^\s*from (criteo_stream[\w.]*) import ([\w, ]+)", re.MULTILINE)


def test_every_public_name_loads() -> None:
    for name in criteo_stream.__all__:
        assert getattr(criteo_stream, name) is not None
    assert dir(criteo_stream) == sorted(criteo_stream.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        criteo_stream.Nothing  # noqa: B018


def test_what_a_type_checker_sees_is_what_loads() -> None:
    tree = ast.parse(Path(criteo_stream.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name for node in block.body for alias in node.names}  # type: ignore[attr-defined]
    assert seen | {"__version__"} == set(criteo_stream.__all__)


def imported() -> Iterator[tuple[str, str, str]]:
    for path in DOCUMENTS:
        for module, names in IMPORT.findall(path.read_text()):
            for name in names.split(","):
                yield str(path.relative_to(REPOSITORY)), module, name.split()[0]


def test_documents_import_public_names_only() -> None:
    found = list(imported())
    assert len(found) >= 3
    for document, module, name in found:
        assert module == "criteo_stream", f"{document} imports {name} from {module}"
        assert name in criteo_stream.__all__, f"{document} imports {name}"


def test_documents_name_no_inner_module_for_a_public_name() -> None:
    for path in DOCUMENTS:
        for module, name in re.findall(r"\b(criteo_stream(?:\.\w+)+)\.(\w+)\b", path.read_text()):
            assert name not in criteo_stream.__all__, f"{path.name} has {module}.{name}"

"""TOML: what is written is read back the same."""

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from criteo_stream.base.errors import UsageError
from criteo_stream.base.toml import read_toml, write_toml

WORDS = st.text(st.characters(exclude_categories=["Cs"]))
PLAIN = (
    WORDS
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.booleans()
)  # fmt: skip
TABLES = st.dictionaries(WORDS, st.dictionaries(WORDS, PLAIN | st.lists(PLAIN)))


@pytest.fixture(scope="session")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("toml") / "config.toml"


def through_a_file(file: Path, tables: dict[str, Any]) -> dict[str, Any]:
    file.write_bytes(write_toml(tables).encode())
    return read_toml(file)


@given(TABLES)
@example({"train": {"rate": 5e-324, "rows": 2**63 - 1, "big": 1e308, "far": math.inf}})
def test_tables_survive(file: Path, tables: dict[str, Any]) -> None:
    again = through_a_file(file, tables)
    assert again == tables
    assert repr(again) == repr(tables)  # 1 is not 1.0 nor True; and -0.0


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "\x7f", "\0", "\x1b[31m", "a\nb", "a\r\nb", "\r", "\t", "\x85", "\u2028\u2029",
        '"', "'", '"""', "\\", "\\u0041", "#", "=", "[train]", "\ufeff", "\uffff", "\U0001f600",
    ],
)  # fmt: skip
def test_hostile_text_survives(file: Path, text: str) -> None:
    tables = {text: {text: text, "within": f"a{text}b", "list": [text, text]}, "empty": {}}
    assert through_a_file(file, tables) == tables


def test_it_is_written_as_ever() -> None:
    tables = {
        "package": {"version": "1.2.3"},
        "data": {"path": "/data/Café \"x\" \\ 'y'/100%25"},
        "train": {
            "model": "fm", "rows": 3, "rate": 1e-05, "scale": 0.01, "l2": 7.2e-08, "none": 0.0,
            "many": 1e16, "layer_norm": False, "tensorboard": True,
        },
    }  # fmt: skip
    assert write_toml(tables) == (
        '[package]\nversion = "1.2.3"\n\n'
        '[data]\npath = "/data/Café \\"x\\" \\\\ \'y\'/100%25"\n\n'
        '[train]\nmodel = "fm"\nrows = 3\nrate = 1e-05\nscale = 0.01\nl2 = 7.2e-08\nnone = 0.0\n'
        "many = 1e+16\nlayer_norm = false\ntensorboard = true\n"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"rows =", "Invalid value"),
        (b"\xff", "can't decode byte 0xff"),
        (b"rows = 1\nrows = 2", "Cannot overwrite a value"),
        (b"rows = " + b"9" * 5000, "Exceeds the limit"),
    ],
)
def test_what_is_not_toml_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=f"^{path} is not valid TOML: .*{message}"):
        read_toml(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"^no such configuration file: {tmp_path / 'none'}$"):
        read_toml(tmp_path / "none")

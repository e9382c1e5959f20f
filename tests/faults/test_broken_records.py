"""Each field of each record broken in each of many ways, the checksum made right again.

Whoever reads it gets one sentence and exit code 1, and no file changes.
"""

import json
import shutil
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from criteo_stream.base.records import sealed
from criteo_stream.base.toml import read_toml
from criteo_stream.cli import main
from criteo_stream.runs.checkpoint_folder import CheckpointFolder
from tests.support.broken_records import WAYS, Spelled, broken_records, to_json
from tests.support.training import as_flags, fit

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")

SOME = ("missing", "null", "text", "negative", "list", "5,000 digits", "nested 10,000 deep")
"""Ways that the suite tries; `make faults` tries all."""
ALL = tuple(WAYS)
FREE = {
    "text": (
        "package_version", "layout", "inputs[0].path", "inputs[0].name", "package.version",
        "data.path", "start.from",
    ),
    "anything": ("options", "times", "state.data"),
}  # fmt: skip
"""Fields whose value may be any text, or any plain value."""


WAYS_TRIED = pytest.mark.parametrize(
    "ways", [SOME, pytest.param(ALL, marks=pytest.mark.slow)], ids=["some", "all"]
)


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two evaluations, and one that its first weights are from."""
    folder = tmp_path_factory.mktemp("broken")
    fit(data, folder / "first")
    fit(data, folder / "run", epochs=2, from_run=folder / "first")
    return folder / "run"


def told(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str | None:
    """The sentence that a command ends with; None where it succeeds."""
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    error = capsys.readouterr().err
    if not exit_.value.code:
        return None
    assert exit_.value.code == 1, error
    assert error.count("\n") == 1, error
    assert len(error) < 700, error
    return error


def may_be_right(where: str, way: str, before: Any, value: Any) -> bool:
    """Whether a replacement is a value of the kind that the field has."""
    if any(where.startswith(name) for name in FREE["anything"]):
        return True
    if way in ("text", "empty text", "NUL in text"):
        return where in FREE["text"] and way != ("NUL in text" if where == "data.path" else "")
    if way == "missing":
        return where in ("rejected", "times", "format", "start", "count_files", "extension",
                         "fit_digests") or where.endswith(
            ("valid_rows", "whole_auc", "whole_log_loss"))  # fmt: skip
    if way == "null":
        return where.endswith(("minimum", "maximum", "mean", "auc", "log_loss", "ne", "best",
                               "calibration", "rejected", "extension", "valid_rows"))  # fmt: skip
    if isinstance(before, float) or where.split(".")[-1] in ("minimum", "maximum", "mtime_ns"):
        return way in ("fraction", "negative", "64 bits and more")
    return (way == "list" and before == []) or (way == "object" and where == "start")


def same_or_right(where: str, way: str, before: Any, value: Any) -> bool:
    return bool(value == before) or may_be_right(where, way, before, value)


def check(
    record: Any,
    write: Callable[[Any], None],
    command: list[str],
    watched: Path,
    capsys: pytest.CaptureFixture[str],
    ways: Sequence[str],
    may_pass: Callable[[str, str, Any, Any], bool] = same_or_right,
) -> tuple[int, int]:
    """Break a record in these ways; the numbers of variants and of those that were refused."""
    variants = refused = 0
    for where, way, broken in broken_records(record):
        if way not in ways:
            continue
        write(broken)
        before = stamps(watched)
        error = told(command, capsys)
        if error is None:
            old, new = value_at(record, where), value_at(broken, where)
            assert may_pass(where, way, old, new), f"{where}: {way} passed"
        assert stamps(watched) == before, f"{where}: {way} changed a file"
        variants += 1
        refused += error is not None
    return variants, refused


def stamps(folder: Path) -> list[tuple[str, int, int]]:
    return sorted(
        (str(path), path.lstat().st_size, path.lstat().st_mtime_ns) for path in folder.rglob("*")
    )


def value_at(record: Any, where: str) -> Any:
    for step in where.replace("[", ".[").split("."):
        try:
            record = record[int(step[1:-1])] if step.startswith("[") else record[step]
        except (KeyError, IndexError):
            return None
    return record


@WAYS_TRIED
def test_the_manifest(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], ways: Sequence[str]
) -> None:
    folder = Path(shutil.copytree(data, tmp_path / "data"))
    path = folder / "manifest.json"
    raw = json.loads(path.read_text())
    del raw["checksum"]
    times = raw.pop("times")

    def write(broken: dict[str, Any]) -> None:
        # A number that Python cannot write has no checksum either: any will do.
        path.write_bytes(to_json({**sealed_anyway(broken), "times": times}))

    write(raw)
    assert told(["inspect", str(folder)], capsys) is None
    variants, _ = check(raw, write, ["inspect", str(folder)], folder, capsys, ways)
    assert variants > 60 * len(ways)


def sealed_anyway(record: dict[str, Any]) -> dict[str, Any]:
    return sealed(record) if not any_spelled(record) else {**record, "checksum": "0" * 16}


def any_spelled(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(any_spelled, value.values()))
    if isinstance(value, list):
        return any(map(any_spelled, value))
    return isinstance(value, Spelled)


@WAYS_TRIED
def test_the_state_of_a_checkpoint(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], ways: Sequence[str]
) -> None:
    folder = Path(shutil.copytree(run, tmp_path / "run", symlinks=True))
    path = CheckpointFolder(folder / "checkpoints").steps()[-1] / "state.json"
    raw = json.loads(path.read_text())
    del raw["state_crc32"]

    def write(broken: dict[str, Any]) -> None:
        text = json.dumps(broken, sort_keys=True)
        path.write_bytes(to_json(broken | {"state_crc32": f"{zlib.crc32(text.encode()):08x}"}))

    write(raw)
    assert told(["inspect", str(folder)], capsys) is None
    variants, _ = check(raw, write, ["inspect", str(folder)], folder, capsys, ways)
    assert variants > 25 * len(ways)


@WAYS_TRIED
def test_a_line_of_the_history(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], ways: Sequence[str]
) -> None:
    folder = Path(shutil.copytree(run, tmp_path / "run", symlinks=True))
    path = folder / "history.jsonl"
    first, second = path.read_bytes().splitlines(keepends=True)
    raw = json.loads(second)
    del raw["checksum"]

    def write(broken: dict[str, Any]) -> None:
        path.write_bytes(first + to_json(sealed_anyway(broken)) + b"\n")

    write(raw)
    assert told(["inspect", str(folder)], capsys) is None
    variants, _ = check(raw, write, ["inspect", str(folder)], folder, capsys, ways)
    assert variants > 10 * len(ways)


def in_toml(value: Any) -> Any:
    """The same without what TOML cannot say."""
    if isinstance(value, dict):
        return {n: in_toml(v) for n, v in value.items() if v is not None}
    return [in_toml(v) for v in value if v is not None] if isinstance(value, list) else value


@WAYS_TRIED
def test_the_configuration(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], ways: Sequence[str]
) -> None:
    folder = Path(shutil.copytree(run, tmp_path / "run", symlinks=True))
    path = folder / "config.toml"
    raw = read_toml(path)

    def write(broken: dict[str, Any]) -> None:
        text = tomli_w.dumps(in_toml(broken))
        for found in spelled(broken):
            text = text.replace(f'"{found}"', found.json)
        path.write_text(text)

    def may_pass(where: str, way: str, old: Any, new: Any) -> bool:
        return way in ("missing", "null") or isinstance(new, type(old)) or type(old) is float

    _, refused = check(raw, write, ["inspect", str(folder)], folder, capsys, ways, may_pass)
    assert refused > 20 * len(ways)


def spelled(value: Any) -> Iterator[Spelled]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from spelled(inner)
    if isinstance(value, Spelled):
        yield value


@pytest.mark.parametrize("way", ["missing", "null", "text", "negative"])
def test_a_training_that_continues(
    way: str, data: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What continuing relies on beyond what inspect reads: tensors, the order, and the loss."""
    folder = Path(shutil.copytree(run, tmp_path / "run", symlinks=True))
    checkpoints = CheckpointFolder(folder / "checkpoints").steps()
    for older in checkpoints[:-1]:
        shutil.rmtree(older)
    path = checkpoints[-1] / "state.json"
    raw = json.loads(path.read_text())
    del raw["state_crc32"]
    command = ["train", str(data), "--out", str(folder), *as_flags(epochs=2),
               "--from", str(run.parent / "first")]  # fmt: skip
    for where, found, broken in broken_records(raw):
        if found != way or not where.startswith(("state.", "version")) or "best" in where:
            continue
        text = json.dumps(broken, sort_keys=True)
        path.write_bytes(to_json(broken | {"state_crc32": f"{zlib.crc32(text.encode()):08x}"}))
        error = told(command, capsys)
        if where != "state.best":
            assert error is not None, f"{where}: {way} passed"

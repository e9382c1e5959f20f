"""What a preparation finds damaged between two tries is refused by name or made again, never used.

Every kind of file that a stopped preparation leaves is damaged, in its working folder and in the
set. The next try ends with the bytes of an undisturbed one, or with one sentence.
"""

import faulthandler
import json
import random
import shutil
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from criteo_stream.base.errors import CriteoStreamError
from criteo_stream.base.records import sealed
from criteo_stream.data.folder import DataFolder
from criteo_stream.prepare import stage2_fit, stages
from tests.support.broken_records import broken_records, to_json
from tests.support.damaged_files import DAMAGES, flip
from tests.support.data_sets import content, prepare
from tests.support.raw_lines import raw_lines, write_raw
from tests.support.stopped_preparation import StoppedError

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")

SETTINGS: dict[str, Any] = {
    "block_rows": 150, "min_count": 2, "split": "tail", "max_bad_rows": 5, "workers": 1,
}  # fmt: skip
"""One worker, so that each try stops with the same files."""

KINDS = {
    ".work/task.json": "encode",
    ".work/fit/lines-00001.json": "encode",
    ".work/blocks/00000-00001.json": "encode",
    ".work/blocks/00000-00001.counts": "fit",
    ".work/blocks/00001-00001.values": "encode",
    ".work/blocks/00001-00001.rows": "encode",
    ".work/fit/I2.json": "encode",
    ".work/fit/C3.json": "fit",
    ".work/fit/I5.table": "encode",
    ".work/fit/C4.lookup": "encode",
    ".work/encoded/00000.json": "encode",
    "vocabulary/C4.parquet": "encode",
    "quantiles.parquet": "encode",
    "train/part-00001.parquet": "encode",
}
"""A file of every kind, and the stage that the try before stopped in."""


def stops_after(calls: int, function: Callable[..., Any]) -> Callable[..., Any]:
    done = 0

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal done
        if done == calls:
            raise StoppedError
        done += 1
        return function(*args, **kwargs)

    return counted


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    lines = raw_lines(700, seed=3)
    write_raw(folder / "day_1", [*lines[:200], b"not a line", *lines[200:400]])
    write_raw(folder / "day_2", lines[400:])
    return folder


@pytest.fixture(scope="module")
def expected(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("expected") / "data"
    prepare(raw, out, **SETTINGS)
    return content(out)


@pytest.fixture(scope="module")
def stopped(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Per stage, the folder of a try that stopped in its middle."""
    folder = tmp_path_factory.mktemp("stopped")
    patches = {
        "fit": (stage2_fit, "write_record", 30),
        "encode": (stages, "remove_scratch", 2),
    }
    for stage, (module, name, calls) in patches.items():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("os.fsync", lambda descriptor: None)
            patch.setattr(module, name, stops_after(calls, getattr(module, name)))
            with pytest.raises(StoppedError):
                prepare(raw, folder / stage, **SETTINGS)
    return {stage: folder / stage for stage in patches}


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def refusal(raw: Path, out: Path) -> str | None:
    """Try again: what is said against it, None where the set is finished."""
    # Who waits at a pipe waits for ever: then the process ends with a traceback.
    faulthandler.dump_traceback_later(120, exit=True)
    try:
        prepare(raw, out, **SETTINGS)
    except CriteoStreamError as error:
        return f"{error.exit_code}: {error}"
    finally:
        faulthandler.cancel_dump_traceback_later()
    return None


def outcome(raw: Path, out: Path, name: str, expected: dict[str, Any]) -> str | None:
    """Try again: None where the set is the expected one, else what was said instead."""
    message = refusal(raw, out)
    if not message:
        assert content(out) == expected
    else:
        assert_one_sentence(message, name)
        assert not DataFolder(out).manifest.exists()
    return message


def assert_one_sentence(message: str, name: str) -> None:
    assert message.startswith("1: ")
    assert name in message
    assert "\n" not in message
    assert len(message) < 1000
    assert "--restart" in message or ": remove it" in message


def again(stopped: Path, out: Path) -> None:
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(stopped, out)


@pytest.mark.parametrize("name", KINDS)
def test_a_flipped_bit_is_never_used(
    name: str, raw: Path, stopped: dict[str, Path], expected: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "data"
    draw = random.Random(name)
    for _ in range(2):
        again(stopped[KINDS[name]], out)
        flip(out / name, draw)
        message = outcome(raw, out, Path(name).name, expected)
        # Made anew in every try, from files that are compared:
        assert (message is None) == (name == "quantiles.parquet")


@pytest.mark.parametrize("damage", ["cut", "to_folder", "to_pipe", "remove"])
@pytest.mark.parametrize("name", KINDS)
def test_a_file_that_is_no_longer_one_is_told(
    name: str, damage: str, raw: Path, stopped: dict[str, Path], expected: dict[str, Any],
    tmp_path: Path,
) -> None:  # fmt: skip
    out = tmp_path / "data"
    again(stopped[KINDS[name]], out)
    DAMAGES[damage](out / name)
    outcome(raw, out, Path(name).name, expected)


def test_a_borrowed_fit_is_compared_too(
    raw: Path, stopped: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted = tmp_path / "fitted"
    prepare(raw, fitted, **SETTINGS)
    borrowed = {"fit_from": str(fitted), "block_rows": 150, "max_bad_rows": 5, "workers": 1}
    prepare(raw, tmp_path / "whole", **borrowed)
    half, out = tmp_path / "half", tmp_path / "data"
    with monkeypatch.context() as patch:
        patch.setattr(stages, "remove_scratch", stops_after(2, stages.remove_scratch))
        with pytest.raises(StoppedError):
            prepare(raw, half, **borrowed)

    again(half, out)
    lookup = out / ".work/fit/C4.lookup"
    taken = lookup.stat().st_ino
    with monkeypatch.context() as patch:  # a try more, to see what it keeps
        patch.setattr(stages, "remove_scratch", stops_after(1, stages.remove_scratch))
        with pytest.raises(StoppedError):
            prepare(raw, out, **borrowed)
    assert lookup.stat().st_ino == taken
    prepare(raw, out, **borrowed)
    assert content(out) == content(tmp_path / "whole")

    for name in (".work/fit/I5.table", ".work/fit/C4.lookup", "vocabulary/C4.parquet"):
        again(half, out)
        flip(out / name, random.Random(name))
        with pytest.raises(CriteoStreamError, match=f"{Path(name).name} is damaged .*--restart"):
            prepare(raw, out, **borrowed)
    again(half, out)
    flip(fitted / "vocabulary/C4.parquet", random.Random(0))  # no longer needed
    flip(out / "quantiles.parquet", random.Random(0))  # taken anew
    prepare(raw, out, **borrowed)
    assert content(out) == content(tmp_path / "whole")
    with pytest.raises(CriteoStreamError, match=r"C4\.parquet is damaged"):
        prepare(raw, tmp_path / "new", **borrowed)


def test_an_extended_fit_is_compared_too(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tmp_path / "first"
    prepare(raw, first, **SETTINGS)
    extending = {"extend": str(first), "block_rows": 150, "max_bad_rows": 5, "workers": 1}
    prepare(raw, tmp_path / "whole", **extending)
    halves = {"fit": (stage2_fit, "write_record", 30), "encode": (stages, "remove_scratch", 2)}
    for stage, (module, name, calls) in halves.items():
        with monkeypatch.context() as patch:
            patch.setattr(module, name, stops_after(calls, getattr(module, name)))
            with pytest.raises(StoppedError):
                prepare(raw, tmp_path / stage, **extending)
    out = tmp_path / "data"
    for stage in halves:
        again(tmp_path / stage, out)
        prepare(raw, out, **extending)
        assert content(out) == content(tmp_path / "whole")
    damages = {
        ".work/before/vocabulary/C4.parquet": "fit",
        ".work/before/counts/C4.parquet": "fit",
        ".work/before/quantiles.parquet": "fit",
        ".work/before/manifest.json": "fit",
        ".work/fit/C4.lookup": "encode",
        "counts/C4.parquet": "encode",
        "vocabulary/C4.parquet": "encode",
    }
    for name, stage in damages.items():
        again(tmp_path / stage, out)
        flip(out / name, random.Random(name))
        with pytest.raises(CriteoStreamError, match=rf"{Path(name).name} is damaged"):
            prepare(raw, out, **extending)
    again(tmp_path / "fit", out)
    flip(first / "counts/C4.parquet", random.Random(0))  # copied before
    prepare(raw, out, **extending)
    assert content(out) == content(tmp_path / "whole")
    other = tmp_path / "other"
    prepare(raw, other, **{**SETTINGS, "min_count": 3})
    again(tmp_path / "fit", out)
    with pytest.raises(
        CriteoStreamError, match=r"begun with another fit for --extend: .*--restart"
    ):
        prepare(raw, out, **{**extending, "extend": str(other)})


def test_half_made_files_of_a_killed_try_are_removed(
    raw: Path, stopped: dict[str, Path], expected: dict[str, Any], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    out = tmp_path / "data"
    again(stopped["fit"], out)
    work = DataFolder(out).work
    left = [work / "fit" / ".C1.lookup.0123456789abcdef.partial", work / ".task.json.partial",
            work / "blocks" / ".00000-00009.rows.fedcba9876543210.partial",
            DataFolder(out).vocabularies / ".C1.parquet.0123456789abcdef.partial"]  # fmt: skip
    for path in left:
        path.write_bytes(b"half")
    theirs = work / "fit" / ".notes"
    theirs.write_bytes(b"theirs")
    with monkeypatch.context() as patch:
        patch.setattr(stage2_fit, "write_record", stops_after(0, stage2_fit.write_record))
        with pytest.raises(StoppedError):
            prepare(raw, out, **SETTINGS)
    assert not [path for path in left if path.exists()]
    assert theirs.exists()
    prepare(raw, out, **SETTINGS)
    assert content(out) == expected


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["fit", "encode"])
def test_every_file_at_many_places(
    stage: str, raw: Path, stopped: dict[str, Path], expected: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "data"
    draw = random.Random(stage)
    same = refused = 0
    for name, whole in files(stopped[stage]).items():
        for damage in [*DAMAGES.values(), *[None] * 5]:
            if not whole and damage is None:
                continue
            again(stopped[stage], out)
            what = flip(out / name, draw) if damage is None else damage(out / name)
            try:
                message = outcome(raw, out, Path(name).name, expected)
            except BaseException as error:
                raise AssertionError(f"{name}: {damage or what}") from error
            same, refused = same + (message is None), refused + (message is not None)
    print(f"{refused} refused, {same} made again")
    assert refused > same > 0


RECORDS = [name for name in KINDS if name.endswith(".json")]

PLAUSIBLE = {
    ("state.mtime_ns", "negative"),  # a file may be that old: then it is compared again
    ("state.ctime_ns", "negative"),
    ("state.inode", "64 bits and more"),
    ("sums.I1", "negative"),
    ("thinned", "missing"),  # as in blocks that were read before there was such a thing
    *((f"rejects[0].{text}", way) for text in ("file", "reason", "text")
      for way in ("text", "empty text", "NUL in text")),
    # Work goes on whatever version of the package began it.
    *(("package_version", way) for way in ("text", "empty text", "NUL in text")),
    *((name, "missing") for name in ("valid", "test", "max_vocabulary", "fit_from")),
}  # fmt: skip
"""What could be true, for all that the record says."""


@pytest.mark.parametrize("stride", [13, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", RECORDS)
def test_a_record_that_cannot_be_true_is_refused_though_its_seal_is_right(
    name: str, stride: int, raw: Path, stopped: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "data"
    again(stopped[KINDS[name]], out)
    path = out / name
    record = json.loads(path.read_bytes())
    del record["checksum"]
    variants = 0
    for where, way, broken in islice(broken_records(record), 0, None, stride):
        if (where, way) in PLAUSIBLE:
            continue
        path.write_bytes(to_json(sealed(broken)))
        before = files(out)
        message = refusal(raw, out)
        assert message, f"{where}: {way} was taken"
        try:
            # A task is told of by its folder, and a record may be so by a file that it speaks of.
            assert_one_sentence(message, str(out) if path.stem == "task" else path.stem)
            assert files(out) == before
        except AssertionError as error:
            raise AssertionError(f"{where}: {way}: {message}") from error
        variants += 1
    print(f"{variants} variants refused")
    assert variants > 40 // stride

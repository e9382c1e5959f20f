"""A preparation goes on only with the inputs, options and version that it was begun with."""

import json
from pathlib import Path
from typing import Any

import pytest

from criteo_stream.base.errors import InputError, OutputError
from criteo_stream.base.records import sealed
from criteo_stream.prepare import stage1_read, task
from criteo_stream.prepare.workspace import Workspace
from tests.support.data_sets import content, prepare
from tests.support.raw_lines import raw_lines, with_field, write_raw
from tests.support.stopped_preparation import (
    OPTIONS,
    StoppedError,
    no_halves,
    stop_early,
    stopping_at,
)

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


def test_a_touched_input_is_no_changed_input(
    own_raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "data"
    stop_early(own_raw, out, monkeypatch)
    (own_raw / "day_1").touch()
    assert prepare(own_raw, out, **OPTIONS).resumed
    (own_raw / "day_2").touch()
    prepare(own_raw, out, **OPTIONS)  # is finished, and stays it


@pytest.mark.parametrize("change", ["one digit", "a line more", "a line less", "first lines"])
def test_a_changed_input_is_refused_with_the_place(
    own_raw: Path, tmp_path: Path, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "data"
    stop_early(own_raw, out, monkeypatch)
    path = own_raw / "day_1"
    lines = path.read_bytes().split(b"\n")[:-1]
    place = {"one digit": "501 to 1,000", "a line more": "1,001 to 1,201",
             "a line less": "1,001 to 1,200", "first lines": "1 to 500"}[change]  # fmt: skip
    if change == "one digit":
        lines[700] = with_field(20, b"feedbeef", lines[700])
    elif change == "a line more":
        lines.append(lines[0])
    elif change == "a line less":
        del lines[-1]
    else:
        del lines[:10]
    write_raw(path, lines)
    with pytest.raises(InputError, match=rf"day_1 changed since it was read .lines {place}"):
        prepare(own_raw, out, **OPTIONS)
    result = prepare(own_raw, out, restart=True, **OPTIONS)
    assert not result.resumed
    assert result.manifest.rows["read"] == len(lines) + 1100
    write_raw(path, lines[:-1])
    with pytest.raises(InputError, match="day_1 changed since the data set was made from it"):
        prepare(own_raw, out, **OPTIONS)


def test_an_input_that_grows_between_counting_and_reading_is_refused(
    own_raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "data"
    tail = {**OPTIONS, "split": "tail"}
    with stopping_at(monkeypatch, 5, StoppedError()), pytest.raises(StoppedError):
        prepare(own_raw, out, **tail)
    path = own_raw / "day_2"
    write_raw(path, [*path.read_bytes().split(b"\n")[:-1], raw_lines(1)[0]])
    with pytest.raises(InputError, match=r"day_2 changed since its lines were counted .1,100 then"):
        prepare(own_raw, out, **tail)


def test_an_input_that_changes_while_it_is_read_is_noticed(
    own_raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "data"
    real = stage1_read.parse_chunk

    def appends(*args: Any, **kwargs: Any) -> Any:
        with (own_raw / "day_1").open("ab") as file:
            file.write(raw_lines(1)[0] + b"\n")
        return real(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(stage1_read, "parse_chunk", appends)
        with pytest.raises(InputError, match="day_1 changed while it was read"):
            prepare(own_raw, out, **OPTIONS)
    no_halves(out)
    prepare(own_raw, out, **OPTIONS)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"min_count": 3}, "--min-count 2, now with --min-count 3"),
        ({"seed": 5}, "--seed 0, now with --seed 5"),
        ({"keep_order": True}, "out --keep-order, now with --keep-order"),
        ({"split": "tail"}, "--split random, now with --split tail"),
        ({"valid": 0.2}, "out --valid, now with --valid 0.2"),
        ({"short_lines": "pad"}, "--short-lines reject, now with --short-lines pad"),
        ({"layout": "kaggle"}, "--layout terabyte, now with --layout kaggle"),
    ],
)
def test_other_options_are_refused_by_name(
    raw: Path, tmp_path: Path, options: dict[str, Any], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "data"
    stop_early(raw, out, monkeypatch)
    with pytest.raises(OutputError, match=f"was begun with ?{named}: .*--restart"):
        prepare(raw, out, **{**OPTIONS, **options})
    prepare(raw, out, memory="3GB", workers=1, max_bad_rows=7, **OPTIONS)
    with pytest.raises(OutputError, match=f"was begun with ?{named}: .*--restart"):
        prepare(raw, out, **{**OPTIONS, **options})


def test_other_inputs_are_refused(
    raw: Path, own_raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "data"
    stop_early(raw, out, monkeypatch)
    with pytest.raises(OutputError, match="begun with other inputs "):
        prepare(own_raw, out, **OPTIONS)


def test_another_version_of_the_package_finishes_the_work(
    raw: Path, expected: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "data"
    stop_early(raw, out, monkeypatch)
    begun = {path.name for path in Workspace(out).blocks.glob("*.json")}
    monkeypatch.setattr(task, "__version__", "99.0")
    finished = prepare(raw, out, **OPTIONS)
    assert begun
    assert finished.resumed
    assert finished.manifest.package_version == "99.0"
    found = content(out)
    manifests = [files.pop("manifest.json") for files in (found, dict(expected))]
    assert found == {name: file for name, file in expected.items() if name != "manifest.json"}
    assert manifests[0] != manifests[1], "it says which version finished it"


@pytest.mark.parametrize("version", [None, 1, 2, 99])
def test_work_of_another_form_is_refused(
    raw: Path, tmp_path: Path, version: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "data"
    stop_early(raw, out, monkeypatch)
    path = out / ".work" / "task.json"
    recorded = json.loads(path.read_text())
    del recorded["workspace"]  # which the first form did not have
    del recorded["checksum"]  # nor the second
    recorded |= {} if version is None else {"workspace": version}
    path.write_text(json.dumps(recorded if version != 99 else sealed(recorded)))
    with pytest.raises(OutputError, match=r"unfinished work of another version .*--restart"):
        prepare(raw, out, **OPTIONS)
    assert not prepare(raw, out, restart=True, **OPTIONS).resumed


def test_restart_drops_what_is_there_and_nothing_else(
    raw: Path, expected: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "data"
    stop_early(raw, out, monkeypatch)
    (out / "notes.txt").write_text("mine")
    assert not prepare(raw, out, restart=True, **OPTIONS).resumed
    assert (out / "notes.txt").read_text() == "mine"
    found = content(out)
    del found["notes.txt"]
    assert found == expected


def test_two_runs_on_one_folder_are_one_too_many(raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "data"
    for restart in (False, True):
        with (
            Workspace.opened(out, restart=False),
            pytest.raises(OutputError, match="another process is preparing"),
        ):
            prepare(raw, out, restart=restart, **OPTIONS)
    prepare(raw, out, **OPTIONS)


def test_a_finished_set_answers_so(raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "data"
    first = prepare(raw, out, **OPTIONS)
    before = content(out)
    again = prepare(raw, out, **OPTIONS)
    assert again.resumed
    assert (again.stages, again.manifest.fingerprint) == ({}, first.manifest.fingerprint)
    assert content(out) == before

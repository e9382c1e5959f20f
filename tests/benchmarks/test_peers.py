"""The parts of the comparison with other tools that need none of them."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import peers
from benchmarks.peer_runs import environments
from benchmarks.peer_runs.hand_over import Runner, Task, write_predictions
from benchmarks.peer_runs.peers import PEERS, Peer
from benchmarks.peer_runs.process import watch
from benchmarks.peer_runs.rows import Parts, labels, split_of
from benchmarks.peer_runs.vw_lines import bin_of, vw_lines
from tests.support.raw_lines import raw_lines, with_field, write_raw


def cut(folder: Path, rows: int = 95, block: int = 5) -> tuple[list[bytes], Parts]:
    lines = raw_lines(rows, seed=1)
    return lines, Parts.cut(write_raw(folder / "raw.tsv", lines), folder, block)


def test_each_row_is_in_one_part_and_in_its_order(tmp_path: Path) -> None:
    lines, parts = cut(tmp_path)
    for name in ("train", "valid", "test"):
        expected = [line for i, line in enumerate(lines) if split_of(i // 5) == name]
        assert getattr(parts, name).read_bytes().splitlines() == expected
        assert parts.rows[name] == len(expected)
    assert parts.rows == {"train": 80, "valid": 10, "test": 5}


def test_a_file_without_test_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has 44 lines, expected more than 45"):
        cut(tmp_path, rows=44)


def test_labels_are_those_of_the_lines(tmp_path: Path) -> None:
    lines, parts = cut(tmp_path)
    assert list(labels(parts.test)) == [int(line[:1]) for line in lines[45:50]]


def test_a_line_becomes_a_line_of_vw() -> None:
    line = with_field(2, b"", with_field(1, b"-1", with_field(14, b"")))
    (text,) = vw_lines([line + b"\n"])
    head, *features = text.decode().split(" ")
    assert head == "1"
    assert features[:4] == ["|f", "I1_-1", "I2_-9", "I3_s2"]  # log(5)² = 2.59
    assert features[14:16] == ["C1_", "C2_0a1b2c3d"]
    assert len(features) == 1 + 39
    assert text.endswith(b"\n")
    assert next(vw_lines([with_field(0, b"0")])).startswith(b"-1 |f ")


@pytest.mark.parametrize(
    ("value", "expected"), [(b"0", b"0"), (b"2", b"2"), (b"3", b"s1"), (b"1000", b"s47")]
)
def test_integers_in_bins(value: bytes, expected: bytes) -> None:
    assert bin_of(value) == expected


def test_figures_of_predictions(tmp_path: Path) -> None:
    _, parts = cut(tmp_path, rows=2000, block=100)
    truth = np.frombuffer(labels(parts.test), np.uint8)
    path = tmp_path / "test.parquet"
    write_predictions(path, np.full(len(truth), truth.mean()), truth)
    figures = peers.figures_of(path, parts.test)
    rate = truth.mean()
    entropy = -(rate * np.log(rate) + (1 - rate) * np.log(1 - rate))
    assert figures == {"auc": 0.5, "log_loss": pytest.approx(entropy)}


def test_predictions_in_another_order_are_refused(tmp_path: Path) -> None:
    _, parts = cut(tmp_path, rows=2000, block=100)
    truth = np.frombuffer(labels(parts.test), np.uint8)
    path = tmp_path / "test.parquet"
    write_predictions(path, np.full(len(truth), 0.5), np.sort(truth))
    with pytest.raises(ValueError, match="200 labels are not those of the 200 test rows"):
        peers.figures_of(path, parts.test)
    write_predictions(path, np.full(len(truth), np.nan), truth)
    with pytest.raises(ValueError, match="not all of its predictions are probabilities"):
        peers.figures_of(path, parts.test)


def test_a_peer_that_fails_is_in_the_table_with_its_message(tmp_path: Path) -> None:
    _, parts = cut(tmp_path)
    peer = Peer("Broken", "no_such_runner", None, "none", "none")
    found = peers.measure(peer, Path(sys.executable), parts, tmp_path / "work", limit=20)
    assert found["error"].startswith("prepare: ")
    assert "No module named benchmarks.peer_runs.no_such_runner" in found["error"]
    text = peers.tables({"vw": found}, {"auc": 0.8, "log_loss": 0.4})
    assert f"| Vowpal Wabbit LR |  |  |  |  |  | {found['error']} |  |" in text
    assert "| best possible, all rows |  |  |  |  |  | 0.8000 | 0.4000 |" in text


def test_a_peer_without_its_environment_is_skipped_and_told(tmp_path: Path) -> None:
    _, parts = cut(tmp_path)
    results = peers.compared(["fuxictr"], parts, tmp_path, tmp_path / "none", limit=1)
    assert results["fuxictr"]["error"] == "not installed: --install makes its environment"
    assert "not installed" in peers.tables(results)


def test_an_environment_of_other_versions_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "vowpal").mkdir()
    record = tmp_path / "vowpal" / environments.RECORD
    record.write_text(json.dumps([["vowpalwabbit==1.0"]]))
    assert "other versions" in environments.missing(tmp_path, "vowpal")
    record.write_text(json.dumps(environments.REQUIREMENTS["vowpal"]))
    assert not environments.missing(tmp_path, "vowpal")


def test_a_process_is_watched(tmp_path: Path) -> None:
    python = sys.executable
    waste = "b = b'x' * 50_000_000; import time; time.sleep(0.5)"
    wasted = watch([python, "-c", waste], tmp_path, {}, 20)
    assert wasted.peak_bytes > 50_000_000
    assert 0 <= wasted.others <= (os.cpu_count() or 1) + 0.1
    assert watch([python, "-c", "raise SystemExit('why')"], tmp_path, {}, 20).error == "why"
    assert watch([python, "-c", "import time; time.sleep(9)"], tmp_path, {}, 0.5).error == (
        "not done within 0.5 s"
    )


def test_a_runner_hands_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = Task(tmp_path, tmp_path / "a", tmp_path / "b", tmp_path / "c", {"dim": 2})
    task.write(tmp_path / "task.json")
    assert Task.read(tmp_path / "task.json") == task
    runner = Runner(lambda _: None, lambda t: t, lambda t, m: ([0.25], [1]), ["numpy"])
    for stage in ("prepare", "train"):
        monkeypatch.setattr(sys, "argv", ["runner", stage, str(tmp_path / "task.json")])
        runner.main()
        assert json.loads((tmp_path / f"{stage}.json").read_text())["versions"]["numpy"]
    assert (tmp_path / "test.parquet").exists()


def test_results_of_other_rows_are_not_shown(tmp_path: Path) -> None:
    peers.kept(tmp_path, "a", {"vw": {"error": "old"}})
    both = peers.kept(tmp_path, "a", {"fuxictr": {"error": "new"}})
    assert sorted(both) == ["fuxictr", "vw"]
    assert peers.kept(tmp_path, "b", {}) == {}
    assert peers.kept(None, "b", {"vw": {}}) == {"vw": {}}


def test_every_peer_has_its_runner_and_environment() -> None:
    for peer in PEERS.values():
        assert (peers.ROOT / "benchmarks" / "peer_runs" / f"{peer.runner}.py").exists()
        assert peer.environment is None or peer.environment in environments.REQUIREMENTS

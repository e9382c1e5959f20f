"""Days of a log whose values come and go: each a function of its number alone."""

import itertools
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from criteo_stream.base.errors import UsageError
from criteo_stream.base.schema import FEATURE_COLUMNS
from criteo_stream.synthetic import generate, write_days
from criteo_stream.synthetic.drift import Day, drifts, effects_of, values_of
from criteo_stream.synthetic.lines import value_of_rank
from criteo_stream.synthetic.marginals import MARGINALS
from criteo_stream.synthetic.rows import teacher
from tests.support.processes import run_code

ROWS = 30_000
C10, C14 = FEATURE_COLUMNS.index("C10"), FEATURE_COLUMNS.index("C14")


def lines(day: Day | None, rows: int = ROWS, start: int = 0) -> bytes:
    return b"".join(chunk.lines for chunk in generate(rows, 3, start, day=day))


def column(text: bytes, number: int) -> Counter[bytes]:
    return Counter(line.split(b"\t")[1 + number] for line in text.splitlines())


def test_the_first_day_is_the_log_without_days() -> None:
    assert lines(Day(0, 0.3), 5000) == lines(None, 5000)


def test_a_day_depends_on_its_number_alone(tmp_path: Path) -> None:
    write_days(tmp_path / "days", 3, 4000, 3, drift=0.2)
    for number in range(3):
        text = (tmp_path / "days" / f"day_{number}").read_bytes()
        assert text == lines(Day(number, 0.2), 4000)
    assert lines(Day(2, 0.2), 100, 3900) == b"".join(text.splitlines(keepends=True)[3900:])


def test_without_drift_the_values_stay() -> None:
    first, later = column(lines(Day(0, 0.0)), C10), column(lines(Day(9, 0.0)), C10)
    common = sum(count for value, count in later.items() if value in first)
    assert common / ROWS > 0.85  # the rest are values seen once


@pytest.mark.parametrize("drift", [0.05, 0.2])
def test_the_stated_share_of_values_is_replaced_each_day(drift: float) -> None:
    """Of ranks 1 to 2,000, after the two days of fading."""
    ranks = np.arange(1, 2001, dtype=np.uint32)
    late = [np.full(2000, day << 16, np.uint64) for day in range(12)]
    generations = [Day(20, drift).generations(C10, ranks, moments) for moments in late]
    changed = [np.mean(b > a) for a, b in itertools.pairwise(generations)]
    # Of 2,000 a standard deviation is below .01.
    assert np.allclose(changed, drift, atol=0.03)
    assert (generations[0] == 0).all()


def test_frequent_values_fade() -> None:
    days = [column(lines(Day(number, 0.3)), C10) for number in range(5)]
    frequent = {value for value, count in days[0].items() if count > 10}
    shares = [sum(c for v, c in day.items() if v in frequent) / ROWS for day in days]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 0.5
    assert shares[4] < shares[0] / 2


def test_small_columns_stay() -> None:
    assert not drifts(C14)
    assert column(lines(Day(8, 0.5)), C14).keys() <= column(lines(None), C14).keys()


def test_new_values_are_new_and_keep_their_effects() -> None:
    size = MARGINALS["C10"].size
    ranks = np.arange(size, dtype=np.uint32)
    seen = set(value_of_rank(ranks, C10).tolist())
    for generation in (1, 2, 40):
        generations = np.full(size, generation, np.uint32)
        values = value_of_rank(values_of(C10, ranks, generations), C10).tolist()
        assert not seen & set(values)
        seen |= set(values)
        acting = effects_of(C10, ranks, generations)
        assert acting.max() < size
        assert (np.abs(acting.astype(int) - ranks.astype(int)) < 16).all()
        assert (acting != ranks).mean() > 0.9


def test_truth_is_that_of_the_rows(tmp_path: Path) -> None:
    found = write_days(tmp_path / "days", 2, 5000, drift=0.5, truth=tmp_path / "truth.json")
    assert json.loads((tmp_path / "truth.json").read_text()) == found
    days = found["days"]
    everything = found["all"]
    assert isinstance(days, list)
    assert isinstance(everything, dict)
    chunks = [chunk for day in range(2) for chunk in generate(5000, 0, day=Day(day, 0.5))]
    p = np.concatenate([teacher().probabilities.take(chunk.logit_cells) for chunk in chunks])
    y = np.concatenate([chunk.labels for chunk in chunks])
    assert everything["log_loss"] == pytest.approx(-np.log(np.where(y, p, 1 - p)).mean())
    assert [day["rows"] for day in days] == [5000, 5000]
    assert sum(day["positives"] for day in days) == everything["positives"] == y.sum()


def test_nonsense_is_refused(tmp_path: Path) -> None:
    for days, drift in ((0, 0.1), (-1, 0.1), (3, 1.0), (3, -0.1)):
        with pytest.raises(UsageError, match="expected"):
            write_days(tmp_path / "x", days, 10, drift=drift)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError, match="is a file: name a folder"):
        write_days(tmp_path / "file", 2, 10)
    assert not (tmp_path / "x").exists()


def test_the_tool_writes_days_and_their_truth_beside_them(tmp_path: Path) -> None:
    code = (
        "import sys, typer\nfrom tools.synthesize import synthesize\n"
        "sys.argv[1:] = {}\ntyper.run(synthesize)"
    )
    flags = ["--days", "2", "--rows", "500", "--out", str(tmp_path / "days"), "--quiet"]
    done = run_code(code.format([*flags, "--compression", "gz"]), tmp_path)
    assert done.returncode == 0, done.stderr
    assert "day 1: click rate" in done.stderr
    assert sorted(p.name for p in (tmp_path / "days").iterdir()) == ["day_0.gz", "day_1.gz"]
    assert json.loads((tmp_path / "days.truth.json").read_text())["all"]["rows"] == 1000
    for odd, told in (
        (["--unlabelled"], "--days goes without --unlabelled"),
        (["--compression", "xz"], "--compression xz is not known"),
        ([], "is not empty"),
    ):
        done = run_code(code.format([*flags, *odd]), tmp_path)
        assert done.returncode in (1, 2)
        assert told in done.stderr

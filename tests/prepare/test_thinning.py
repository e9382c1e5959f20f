"""Sets whose training split has only a part of its negatives."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from criteo_stream.base.errors import InputError, OutputError, UsageError
from criteo_stream.base.schema import CATEGORICAL_COLUMNS, INTEGER_COLUMNS, LABEL, SPLITS
from criteo_stream.data.manifest import Manifest
from criteo_stream.data.thinning import negatives_kept
from criteo_stream.prepare.disk_space import estimate
from criteo_stream.prepare.splits import THINNED, TRAIN, VALID, HashedSplit, thin
from criteo_stream.raw.beginning import read_beginning
from criteo_stream.raw.inputs import RawInput
from criteo_stream.report.inspection import inspect
from tests.prepare.small_log import LINES, ROWS, SMALL
from tests.support.data_sets import content, prepare, read_split
from tests.support.plain_encoding import plain_encoding
from tests.support.raw_lines import raw_lines, write_raw
from tests.support.stopped_preparation import StoppedError, stopping_at

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")

KEEP = 0.3
THINNED_SET: dict[str, Any] = {**SMALL, "keep_negatives": KEEP}


@pytest.fixture(scope="module")
def made_thinned(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("thinned") / "data"
    prepare(raw, out, **THINNED_SET)
    return out


def line_codes() -> np.ndarray:
    """Where each line of the small log goes."""
    numbers = np.arange(1, ROWS + 1)
    codes = HashedSplit(seed=0, name="log.tsv", valid=0.1, test=0.1).codes(numbers)
    labels = np.array([int(line[:1]) for line in LINES], np.uint8)
    return thin(codes, labels, numbers, seed=0, name="log.tsv", keep_negatives=KEEP)


def shards_of(out: Path, *splits: str) -> dict[str, bytes]:
    paths = (path for split in splits for path in (out / split).iterdir())
    return {str(path.relative_to(out)): path.read_bytes() for path in paths}


def test_no_row_is_lost_and_those_left_out_are_negatives(made: Path, made_thinned: Path) -> None:
    whole, thinned = Manifest.read(made).rows, Manifest.read(made_thinned).rows
    assert list(thinned) == ["train", "valid", "test", "rejected", "thinned", "read"]
    assert thinned["read"] == ROWS == sum(n for key, n in thinned.items() if key != "read")
    assert thinned["thinned"] == np.count_nonzero(line_codes() == THINNED)
    assert {k: thinned[k] for k in ("valid", "test")} == {k: whole[k] for k in ("valid", "test")}
    labels = {out: read_split(out, "train")[LABEL].to_numpy() for out in (made, made_thinned)}
    assert labels[made].sum() == labels[made_thinned].sum()
    negatives = {out: np.count_nonzero(label == 0) for out, label in labels.items()}
    assert negatives[made] - negatives[made_thinned] == thinned["thinned"]
    share = negatives[made_thinned] / negatives[made]
    assert negatives_kept(Manifest.read(made_thinned)) == share
    assert abs(share - KEEP) < 4 * np.sqrt(KEEP * (1 - KEEP) / negatives[made])


def test_the_fit_and_the_rows_are_those_of_the_lines_kept(raw: Path, tmp_path: Path) -> None:
    manifest = prepare(raw, tmp_path / "data", keep_order=True, **THINNED_SET).manifest
    codes = line_codes()
    training = [line for line, code in zip(LINES, codes, strict=True) if code == TRAIN]
    for code, split in enumerate(SPLITS):
        lines = [line for line, found in zip(LINES, codes, strict=True) if found == code]
        frame = read_split(tmp_path / "data", split)
        assert frame[LABEL].to_list() == [int(line[:1]) for line in lines]
        quantiles, ids = plain_encoding(lines, training, 2)
        np.testing.assert_array_equal(frame.select(CATEGORICAL_COLUMNS).to_numpy(), ids)
        numeric = frame.select(INTEGER_COLUMNS).to_numpy()
        np.testing.assert_allclose(numeric, quantiles, rtol=0, atol=1e-6)
    missing = sum(not line.split(b"\t")[2] for line in training)
    assert manifest.numeric[1].missing == missing


@pytest.mark.parametrize("keep_order", [False, True])
def test_valid_and_test_are_those_of_the_whole_set(
    raw: Path, made: Path, tmp_path: Path, keep_order: bool
) -> None:
    options = {"block_rows": 1000, "valid": 0.1, "test": 0.1, "fit_from": made}
    options |= {"keep_order": keep_order}
    whole = prepare(raw, tmp_path / "whole", **options).manifest
    thinned = prepare(raw, tmp_path / "thinned", keep_negatives=KEEP, **options).manifest
    assert thinned.fit_fingerprint == whole.fit_fingerprint
    assert thinned.rows["thinned"] == whole.rows["train"] - thinned.rows["train"] > 0
    evaluation = [shards_of(tmp_path / name, "valid", "test") for name in ("whole", "thinned")]
    assert evaluation[0] == evaluation[1]
    # Training rows keep their order as well.
    train = [
        read_split(tmp_path / name, "train").fill_nan(-1).rows() for name in ("whole", "thinned")
    ]
    every = iter(train[0])
    assert all(row in every for row in train[1])


@pytest.mark.parametrize("chunk_bytes", [3000, 1 << 22])
@pytest.mark.parametrize("workers", [1, 3])
def test_threads_and_chunks_cannot_be_seen(
    raw: Path, made_thinned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    chunk_bytes: int, workers: int,
) -> None:  # fmt: skip
    monkeypatch.setattr("criteo_stream.raw.chunks.CHUNK_BYTES", chunk_bytes)
    prepare(raw, tmp_path / "data", workers=workers, **THINNED_SET)
    assert content(tmp_path / "data") == content(made_thinned)


def test_which_rows_are_kept_does_not_go_by_blocks(
    raw: Path, made_thinned: Path, tmp_path: Path
) -> None:
    prepare(raw, tmp_path / "data", **THINNED_SET | {"block_rows": 700})
    assert Manifest.read(tmp_path / "data").rows == Manifest.read(made_thinned).rows
    found, expected = (
        sorted(read_split(out, "train").fill_nan(-1).rows())
        for out in (tmp_path / "data", made_thinned)
    )
    assert found == expected


def test_a_thinned_set_stopped_at_a_write_continues_to_the_same_bytes(
    raw: Path, made_thinned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stopping_at(monkeypatch, 10**9, StoppedError()) as count:
        prepare(raw, tmp_path / "whole", **THINNED_SET)
    for number in range(2, count[0], count[0] // 6):
        out = tmp_path / str(number)
        with stopping_at(monkeypatch, number, StoppedError()), pytest.raises(StoppedError):
            prepare(raw, out, **THINNED_SET)
        prepare(raw, out, **THINNED_SET)
        assert content(out) == content(made_thinned)


def test_to_keep_all_is_to_thin_nothing(raw: Path, made: Path, tmp_path: Path) -> None:
    prepare(raw, tmp_path / "data", keep_negatives=1, **SMALL)
    assert content(tmp_path / "data") == content(made)
    manifest = Manifest.read(made)
    assert "thinned" not in manifest.rows
    assert "keep_negatives" not in manifest.options
    assert negatives_kept(manifest) == 1


def test_another_share_is_refused_by_name(
    raw: Path, made: Path, made_thinned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert prepare(raw, made_thinned, **THINNED_SET).resumed
    with pytest.raises(
        OutputError, match=r"begun with --keep-negatives 0\.3, now with --keep-negatives 0\.2"
    ):
        prepare(raw, made_thinned, keep_negatives=0.2, **SMALL)
    with pytest.raises(
        OutputError, match=r"begun with --keep-negatives 0\.3, now with --keep-negatives 1\.0"
    ):
        prepare(raw, made_thinned, **SMALL)
    with pytest.raises(
        OutputError, match=r"begun with --keep-negatives 1\.0, now with --keep-negatives 0\.3"
    ):
        prepare(raw, made, **THINNED_SET)
    out = tmp_path / "data"
    with stopping_at(monkeypatch, 30, StoppedError()), pytest.raises(StoppedError):
        prepare(raw, out, **SMALL)
    with pytest.raises(
        OutputError, match=r"begun with --keep-negatives 1\.0, now with --keep-negatives 0\.3"
    ):
        prepare(raw, out, **THINNED_SET)


@pytest.mark.parametrize(
    ("share", "message"),
    [
        (0, "is 0, expected more than 0, at most 1"),
        (-0.5, "is -0.5, expected more than 0, at most 1"),
        (1.5, "is 1.5, expected at most 1"),
        (float("nan"), "is nan, expected a finite number"),
    ],
)
def test_shares_that_make_no_sense_are_refused(
    raw: Path, tmp_path: Path, share: float, message: str
) -> None:
    with pytest.raises(UsageError, match=f"--keep-negatives {message}"):
        prepare(raw, tmp_path / "data", keep_negatives=share)
    assert not (tmp_path / "data").exists()


def test_a_set_without_training_rows_cannot_be_thinned(
    raw: Path, made: Path, tmp_path: Path
) -> None:
    day = write_raw(tmp_path / "day_3", LINES[:100])
    for source, options in (
        (raw, {"fit_from": made}),
        (raw, {"fit_from": made, "valid_files": (str(raw),)}),
        (raw, {"test_files": (str(raw),)}),
        (day, {"split": "terabyte"}),
    ):
        with pytest.raises(UsageError, match="thins the training split, and all rows go to valid"):
            prepare(source, tmp_path / "data", keep_negatives=KEEP, **options)
        assert not (tmp_path / "data").exists()


def test_a_training_split_of_which_nothing_is_left_is_refused(tmp_path: Path) -> None:
    raw = write_raw(tmp_path / "log.tsv", raw_lines(100, click_rate=0))
    with pytest.raises(InputError, match=r"no row is in the training split.*--keep-negatives"):
        prepare(raw, tmp_path / "data", keep_negatives=1e-9)


def test_what_was_left_out_is_told(raw: Path, made_thinned: Path) -> None:
    rows = Manifest.read(made_thinned).rows
    again = prepare(raw, made_thinned, **THINNED_SET).to_dict()
    assert json.loads(json.dumps(again))["rows"] == rows
    found = inspect(made_thinned, verify=True)
    assert found.figures["rows"] == rows
    assert f", {rows['thinned']:,} negatives of the training split thinned" in found.lines[0]


def test_less_disk_is_asked_for(raw: Path) -> None:
    beginning = read_beginning(RawInput(raw))
    whole, half = (estimate([beginning], 2, thinned) for thinned in (0.0, 0.5))
    assert whole.rows == half.rows
    assert half.bytes < whole.bytes


def test_two_thinned_sets_of_the_same_rows_are_one_only_with_the_same_number_left_out(
    made_thinned: Path,
) -> None:
    manifest = Manifest.read(made_thinned)
    assert manifest.fingerprint == Manifest.read(made_thinned).fingerprint
    more = manifest.rows | {"thinned": manifest.thinned + 5, "rejected": 0}
    more["read"] = manifest.rows["read"] + 5
    inputs = [type(manifest.inputs[0])(**vars(manifest.inputs[0]) | {"rows": more["read"]})]
    other = Manifest(**vars(manifest) | {"rows": more, "inputs": inputs})
    assert other.fingerprint != manifest.fingerprint


LINE_NUMBERS = np.arange(1, 200_001)
NEGATIVES = np.zeros(len(LINE_NUMBERS), np.uint8)


@pytest.mark.parametrize("share", [0.5, 0.25, 0.01])
def test_the_share_holds_within_four_sigma_whatever_the_split_s_hash_says(share: float) -> None:
    """A hash that the split used too would leave all or none of the lines of one split."""
    codes = HashedSplit(seed=0, name="a", valid=0.3, test=0.3).codes(LINE_NUMBERS)
    found = thin(codes, NEGATIVES, LINE_NUMBERS, seed=0, name="a", keep_negatives=share)
    training = np.count_nonzero(codes == TRAIN)
    kept = np.count_nonzero(found == TRAIN)
    assert abs(kept - training * share) < 4 * np.sqrt(training * share * (1 - share))
    np.testing.assert_array_equal(found[codes != TRAIN], codes[codes != TRAIN])


def test_positives_stay_and_seed_name_and_line_decide() -> None:
    codes = np.full(len(LINE_NUMBERS), TRAIN, np.uint8)

    def kept(seed: int = 0, name: str = "a", lines: np.ndarray = LINE_NUMBERS) -> np.ndarray:
        return thin(codes, NEGATIVES, lines, seed=seed, name=name, keep_negatives=0.5) == TRAIN

    assert (
        thin(codes, NEGATIVES + 1, LINE_NUMBERS, seed=0, name="a", keep_negatives=0.1) == TRAIN
    ).all()
    np.testing.assert_array_equal(kept(), kept())
    for other in (kept(seed=1), kept(name="b"), kept(lines=LINE_NUMBERS + 1)):
        assert abs(np.mean(kept() == other) - 0.5) < 4 * 0.5 / np.sqrt(len(LINE_NUMBERS))
    # Fewer are kept of the same ones.
    fewer = thin(codes, NEGATIVES, LINE_NUMBERS, seed=0, name="a", keep_negatives=0.2) == TRAIN
    assert (kept() >= fewer).all()


def test_the_rows_kept_are_the_published_ones() -> None:
    """A change here would keep other rows in every thinned set made before."""
    codes = np.array([TRAIN, VALID] * 20, np.uint8)
    labels = np.array([0, 0, 0, 1] * 10, np.uint8)
    found = thin(codes, labels, np.arange(1, 41), seed=7, name="day_3", keep_negatives=0.5)
    assert "".join(map(str, found)) == "3131010101310101010131313101010101310101"

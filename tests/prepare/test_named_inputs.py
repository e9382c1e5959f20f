"""Sets made from inputs in an order, and what becomes of a finished set that is asked for again."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from criteo_stream.base.errors import OutputError
from criteo_stream.base.schema import SPLITS
from criteo_stream.data.manifest import Manifest
from criteo_stream.prepare import task
from criteo_stream.raw.malformed import left_out_text
from tests.prepare.small_log import SMALL
from tests.support.data_sets import content, prepare, read_split
from tests.support.raw_lines import kaggle_csv_lines, raw_lines, reczoo_lines, write_raw

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


def test_a_form_with_ids_gives_the_rows_of_the_form_without(tmp_path: Path) -> None:
    lines = raw_lines(400, seed=3)
    for name, text in (("a", reczoo_lines(lines)), ("b", kaggle_csv_lines(lines))):
        (tmp_path / name).mkdir()
        raw = write_raw(tmp_path / name / "train.csv", text)
        prepare(raw, tmp_path / name / "data", min_count=2)
    for split in SPLITS:
        a, b = (read_split(tmp_path / name / "data", split) for name in "ab")
        assert a.equals(b)
    assert Manifest.read(tmp_path / "b/data").layout == "kaggle-csv"


def test_the_tail_is_that_of_the_inputs_as_they_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [write_raw(tmp_path / f"{m}.tsv", raw_lines(100)) for m in ("oct", "nov", "dec")]
    result = prepare(paths, tmp_path / "data", split="tail", min_count=1, quiet=False, test=0.2)
    told = capsys.readouterr().err
    oct_, nov, dec = paths
    assert f"in this order: {oct_}, {nov}, {dec}\n" in told
    assert f"valid begins at row 11 of {dec}, test begins at row 41 of {dec}\n" in told
    assert [Path(entry.path).name for entry in result.manifest.inputs] == [p.name for p in paths]
    assert result.manifest.rows["test"] == 60
    prepare(paths, tmp_path / "none", split="tail", min_count=1, quiet=False, valid=0, test=0)
    assert "all rows are training rows" in capsys.readouterr().err


@pytest.mark.parametrize("split", ["random", "tail"])
def test_the_order_of_a_finished_set_matters_where_a_split_goes_by_it(
    tmp_path: Path, split: str
) -> None:
    a, b = (write_raw(tmp_path / name, raw_lines(100, seed=i)) for i, name in enumerate("ab"))
    made = prepare([b, a], tmp_path / "data", split=split, min_count=1)
    if split == "tail":
        with pytest.raises(OutputError, match=r"begun with its inputs in the order b, a: give"):
            prepare([a, b], tmp_path / "data", split=split, min_count=1)
    else:
        again = prepare([a, b], tmp_path / "data", split=split, min_count=1)
        assert again.resumed
        assert again.manifest == made.manifest
    assert prepare([b, a], tmp_path / "data", split=split, min_count=1).resumed


def test_a_finished_set_of_another_version_of_the_package_is_finished(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(raw, tmp_path / "data", **SMALL)
    before = content(tmp_path / "data")
    monkeypatch.setattr(task, "__version__", "99.0")
    assert prepare(raw, tmp_path / "data", **SMALL).resumed
    assert content(tmp_path / "data") == before
    with pytest.raises(OutputError, match="begun with --seed 0, now with --seed 1"):
        prepare(raw, tmp_path / "data", seed=1, **SMALL)


def test_a_finished_set_may_lack_an_option_of_today(raw: Path, tmp_path: Path) -> None:
    prepare(raw, tmp_path / "data", **SMALL)
    manifest = Manifest.read(tmp_path / "data")
    older = {key: value for key, value in manifest.options.items() if key != "max_vocabulary"}
    replace(manifest, options=older).write(tmp_path / "data")
    assert prepare(raw, tmp_path / "data", **SMALL).resumed
    with pytest.raises(
        OutputError, match="begun without --max-vocabulary, now with --max-vocabulary 9"
    ):
        prepare(raw, tmp_path / "data", max_vocabulary=9, **SMALL)


def test_how_many_malformed_lines_are_listed_is_told(tmp_path: Path) -> None:
    lines = raw_lines(3000)
    raw = write_raw(tmp_path / "log.tsv", [*lines[:2000], *[b"bad"] * 1200, *lines[2000:]])
    options: dict[str, Any] = {"max_bad_rows": 1200, "block_rows": 1000, "min_count": 1}
    for _ in range(2):  # made, and found finished
        result = prepare(raw, tmp_path / "data", **options)
        assert (result.to_dict()["rows"]["rejected"], result.rejected_listed) == (1200, 200)
    assert left_out_text(1200, 200, Path("f")) == (
        "1,200 malformed lines left out; f lists 200 of them, the first 100 of every block of "
        "1,048,576 lines and at most 1,000"
    )
    assert left_out_text(1, 1, Path("f")) == "1 malformed line left out, listed in f"

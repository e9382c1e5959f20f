from pathlib import Path

import pytest

from criteo_stream.base.errors import InputError, UsageError
from criteo_stream.prepare.detect_layout import detect_layout, layout_of
from criteo_stream.prepare.layouts import (
    KAGGLE,
    KAGGLE_UNLABELLED,
    RECZOO,
    TERABYTE,
)
from tests.support.raw_lines import beginning_of, raw_lines, reczoo_lines, unlabelled, write_raw


def test_layouts_are_recognised_from_the_first_lines(tmp_path: Path) -> None:
    lines = raw_lines(200)
    stripped = [line.rstrip(b"\t") for line in lines]
    crlf = [line + b"\r" for line in lines]
    for number, (name, content, layout) in enumerate(
        [
            ("train.txt", lines, KAGGLE),
            ("crlf.txt", crlf, KAGGLE),
            ("stripped.txt", stripped, KAGGLE),
            ("test.txt", unlabelled(lines), KAGGLE_UNLABELLED),
            ("day_3", lines, TERABYTE),
            ("one.txt", lines[:1], KAGGLE),
            ("x4.csv", reczoo_lines(lines), RECZOO),
        ]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert detect_layout(beginning_of(write_raw(folder / name, content))) == layout


@pytest.mark.parametrize(
    "content",
    [b"a,b,c\n1,2,3\n", b"{}", b"\x1f\x8b\x08" + bytes(500), b"\n\n\n", b"1\n2\n", b"x" * 100_000],
)
def test_what_is_not_criteo_is_refused_with_what_it_looks_like(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "log.txt").write_bytes(content)
    with pytest.raises(InputError, match=r"not a Criteo click log.*fields.*expected 40"):
        detect_layout(beginning_of(tmp_path / "log.txt"))


def test_layouts_do_not_mix(tmp_path: Path) -> None:
    lines = raw_lines(20)
    train = beginning_of(write_raw(tmp_path / "train.txt", lines))
    test = beginning_of(write_raw(tmp_path / "test.txt", unlabelled(lines)))
    day = beginning_of(write_raw(tmp_path / "day_0", lines))
    with pytest.raises(InputError, match=r"train\.txt has 40 fields a line, .*test\.txt has 39"):
        layout_of([train, test])
    assert layout_of([train, day]) == KAGGLE
    assert layout_of([day]) == TERABYTE
    assert layout_of([day], "kaggle") == KAGGLE
    assert layout_of([train], "terabyte") == TERABYTE
    csv = beginning_of(write_raw(tmp_path / "x4.csv", reczoo_lines(lines)))
    assert layout_of([csv]) == layout_of([csv], "reczoo") == RECZOO
    for sources, wanted in (([train, csv], "auto"), ([csv], "kaggle"), ([train], "reczoo")):
        with pytest.raises(InputError, match="is of the layout"):
            layout_of(sources, wanted)
    with pytest.raises(
        UsageError, match="--layout reczo is not known: use auto, kaggle, terabyte, reczoo"
    ):
        layout_of([train], "reczo")


def test_another_header_is_refused(tmp_path: Path) -> None:
    lines = reczoo_lines(raw_lines(3))
    source = beginning_of(
        write_raw(tmp_path / "x.csv", [lines[0].replace(b"I3,", b"I4,"), *lines[1:]])
    )
    with pytest.raises(InputError, match=r"has the header 'label,I1,I2,I4.*name its columns label"):
        detect_layout(source)

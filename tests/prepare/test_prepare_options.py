"""The options of `preprocess`: declared once, typed as keywords, refused in one sentence."""

from pathlib import Path
from typing import Any, get_type_hints

import pytest

from criteo_stream import __version__
from criteo_stream.base.errors import UsageError
from criteo_stream.base.options import declared
from criteo_stream.base.schema import FORMAT_VERSION
from criteo_stream.prepare.options import (
    PrepareExecution,
    PrepareKeywords,
    PrepareOptions,
    checked,
)
from criteo_stream.prepare.pipeline import preprocess
from criteo_stream.prepare.task import task_of
from criteo_stream.raw.inputs import RawInput
from criteo_stream.raw.layouts import KAGGLE, LAYOUTS
from tests.support.data_sets import prepare
from tests.support.raw_lines import raw_lines, write_raw

CONVERTED = {
    "valid_files": list[str] | tuple[str, ...],
    "test_files": list[str] | tuple[str, ...],
    "fit_from": str | Path | None,
    "extend": str | Path | None,
    "memory": str | int,
}
"""Options that callers may write in more ways than they are kept."""


def test_the_keywords_are_the_options() -> None:
    options = get_type_hints(PrepareOptions) | get_type_hints(PrepareExecution)
    assert len(options) == len(declared(PrepareOptions)) + len(declared(PrepareExecution))
    assert get_type_hints(PrepareKeywords) == options | CONVERTED
    assert not PrepareKeywords.__required_keys__


def test_every_option_says_what_it_does() -> None:
    for cls in (PrepareOptions, PrepareExecution):
        for option in declared(cls).values():
            assert option.help[0].isupper(), option.name
            assert option.help.endswith("."), option.name
            assert bool(option.chosen_by) == option.may_be_open, option.name


def test_the_choices_are_what_the_stages_know() -> None:
    assert declared(PrepareOptions)["layout"].choices == ("auto", *LAYOUTS)


def test_options_are_recorded_with_these_names_in_this_order(tmp_path: Path) -> None:
    options = PrepareOptions(valid_files=("a", "b"), min_count=3)
    task = task_of(options, [RawInput(tmp_path / "x" / ".." / "log.tsv")], KAGGLE)
    assert list(task.items()) == [
        ("format", FORMAT_VERSION),
        ("package_version", __version__),
        ("inputs", [str(tmp_path / "log.tsv")]),
        ("layout", "kaggle"),
        ("split", "random"),
        ("valid", None),
        ("test", None),
        ("valid_files", ["a", "b"]),
        ("test_files", []),
        ("min_count", 3),
        ("max_vocabulary", None),
        ("seed", 0),
        ("keep_order", False),
        ("short_lines", "reject"),
        ("fit_from", None),
        ("extend", None),
        ("no_counts", False),
        ("block_rows", 2**20),
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mincount": 3}, "unknown option mincount: did you mean min_count?"),
        ({"max_bad_row": 3}, "unknown option max_bad_row: did you mean max_bad_rows?"),
        ({"min_count": "3"}, "--min-count is '3', expected a whole number"),
        ({"valid": "0.1"}, "--valid is '0.1', expected a number"),
        ({"split": None}, "--split is None, expected text"),
        ({"valid_files": "a"}, "--valid-files is 'a', expected a list of text"),
        ({"fit_from": 3}, "--fit-from is 3, expected a path"),
        ({"memory": 4e9}, "--memory is 4000000000.0, expected text"),
        ({"memory": True}, "--memory is True, expected text"),
        ({"quiet": 1}, "--quiet is 1, expected true or false"),
        ({"max_bad_rows": -1}, "--max-bad-rows is -1, expected at least 0"),
    ],
    ids=str,
)
def test_a_wrong_keyword_is_one_sentence(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    raw = write_raw(tmp_path / "log.tsv", raw_lines(10))
    with pytest.raises(UsageError) as caught:
        preprocess(raw, tmp_path / "out", **options)
    assert str(caught.value) == message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("memory", ["2GB", 2_000_000_000, "2e9"])
def test_memory_is_a_size_or_a_number_of_bytes(memory: str | int) -> None:
    if memory == "2e9":
        with pytest.raises(UsageError, match="'2e9' is not a size"):
            checked({"memory": memory})
        return
    _, execution = checked({"memory": memory, "workers": 3})
    assert execution.budget.total_bytes == 2_000_000_000
    assert execution.budget.threads == 3


@pytest.mark.parametrize(
    ("memory", "workers", "threads"), [("1GB", 9, 3), ("1GB", 2, 2), ("100GB", 9, 9)]
)
def test_memory_limits_the_threads(memory: str, workers: int, threads: int) -> None:
    assert PrepareExecution(memory=memory, workers=workers).budget.threads == threads


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "last"}, "--split last is not known"),
        ({"valid": 1.0}, "--valid is 1.0"),
        ({"test": -0.1}, "--test is -0.1"),
        ({"valid": 0.5, "test": 0.5}, "leave nothing to train on"),
        ({"min_count": 0}, "--min-count is 0"),
        ({"max_vocabulary": 0}, "--max-vocabulary is 0"),
        ({"short_lines": "mend"}, "--short-lines mend is not known"),
        ({"memory": "900MB"}, "needs at least 1 GB"),
        ({"memory": "lots"}, "'lots' is not a size"),
        ({"workers": 0}, "--workers is 0"),
        ({"split": "tail", "test_files": ("x",)}, "exclude --split tail"),
        ({"layout": "csv"}, "--layout csv is not known"),
        ({"block_rows": 2**21}, "block_rows is 2097152"),
    ],
    ids=str,
)
def test_options_that_make_no_sense_are_refused(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    raw = write_raw(tmp_path / "log.tsv", raw_lines(10))
    with pytest.raises(UsageError, match=message):
        prepare(raw, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()

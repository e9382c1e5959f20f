"""Options declare themselves once, check themselves, and refuse in one sentence."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from criteo_stream.base.errors import UsageError
from criteo_stream.base.options import declared, from_dict, option, options, to_dict


@options
class Sample:
    rows: int = option(default=10, help="Read this many rows.", at_least=1)
    seed: int = option(default=0, help="Draw with this seed.", at_least=0, at_most=2**64 - 1)
    rate: float = option(default=0.5, help="Use this rate.", at_least=0, below=1)
    way: Literal["in", "out"] = option(default="in", help="Go this way.")
    scale: float | None = option(
        default=None, help="Scale by this.", chosen_by="1 a row", at_least=0, at_most=1e6
    )
    shout: bool = option(default=False, help="Speak up.")
    place: Path | None = option(default=None, help="Write there.", flag="at")
    names: tuple[str, ...] = option(default=(), help="Take these.")

    def check_together(self) -> None:
        if self.way == "out" and self.rows > 100:
            raise UsageError("--way out takes at most 100 rows")


@options
class Narrowed(Sample):
    scale: float


def test_a_narrower_class_keeps_the_checks() -> None:
    with pytest.raises(UsageError, match="--way out takes at most 100 rows"):
        Narrowed(way="out", rows=101, scale=1)
    with pytest.raises(UsageError, match="--scale is None, expected a number"):
        Narrowed()


def test_what_an_option_says_of_itself() -> None:
    found = declared(Sample)
    assert list(found) == ["rows", "seed", "rate", "way", "scale", "shout", "place", "names"]
    assert found["way"].choices == ("in", "out")
    assert found["way"].kind is str
    assert found["scale"].may_be_open
    assert found["scale"].chosen_by == "1 a row"
    assert found["place"].flag == "--at"
    assert found["names"].kind is tuple
    assert declared(Narrowed)["scale"].help == "Scale by this."
    assert not declared(Narrowed)["scale"].may_be_open


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rows": "2"}, "--rows is '2', expected a whole number"),
        ({"rows": 2.5}, "--rows is 2.5, expected a whole number"),
        ({"rows": True}, "--rows is True, expected a whole number"),
        ({"rows": None}, "--rows is None, expected a whole number"),
        ({"rows": 0}, "--rows is 0, expected at least 1"),
        ({"rate": "x"}, "--rate is 'x', expected a number"),
        ({"rate": 1}, "--rate is 1.0, expected a number from 0 to below 1"),
        ({"rate": float("nan")}, "--rate is nan, expected a finite number"),
        ({"scale": float("inf")}, "--scale is inf, expected a finite number"),
        ({"scale": -1}, "--scale is -1.0, expected at least 0"),
        ({"scale": 1e308}, "--scale is 1e+308, expected at most 1,000,000"),
        ({"scale": 2.5e6}, "--scale is 2,500,000, expected at most 1,000,000"),
        ({"scale": 10**400}, "--scale is inf, expected a finite number"),
        ({"scale": -(10**400)}, "--scale is -inf, expected a finite number"),
        (
            {"rows": 2**63},
            "--rows is 9,223,372,036,854,775,808, expected at most 9,223,372,036,854,775,807",
        ),
        ({"rows": 10**400}, "--rows is about 1e400, expected at most 9,223,372,036,854,775,807"),
        ({"rows": -(10**30)}, "--rows is about -1e30, expected at least 1"),
        (
            {"seed": 2**64},
            "--seed is 18,446,744,073,709,551,616, expected at most 18,446,744,073,709,551,615",
        ),
        ({"way": "up"}, "--way up is not known: use in, out"),
        ({"way": 3}, "--way is 3, expected text"),
        ({"shout": 1}, "--shout is 1, expected true or false"),
        ({"place": 1}, "--at is 1, expected a path"),
        ({"names": "a"}, "--names is 'a', expected a list of text"),
        ({"names": (1,)}, "--names is (1,), expected a list of text"),
        ({"row": 3}, "unknown option row: did you mean rows?"),
        ({"way": "out", "rows": 101}, "--way out takes at most 100 rows"),
    ],
)
def test_nonsense_is_one_sentence(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        Sample(**given)
    assert str(caught.value) == message


def test_numbers_of_other_libraries_become_plain() -> None:
    found = Sample(rows=np.int64(7), rate=np.float32(0.25), scale=3)  # type: ignore[arg-type]
    assert to_dict(found) == {
        "rows": 7, "seed": 0, "rate": 0.25, "way": "in", "scale": 3.0, "shout": False,
        "place": None, "names": [],
    }  # fmt: skip
    assert [type(v) for v in (found.rows, found.rate, found.scale)] == [int, float, float]


def test_they_go_through_plain_values() -> None:
    given = Sample(rows=3, place=Path("here"), names=("a", "b"))
    assert from_dict(Sample, to_dict(given), "config.toml") == given


def test_a_file_s_nonsense_names_the_file() -> None:
    with pytest.raises(UsageError, match=r"^config.toml: unknown option wey: did you mean way\?$"):
        from_dict(Sample, {"wey": "in"}, "config.toml")
    with pytest.raises(UsageError, match=r"^config.toml: rate is 'x', expected a number$"):
        from_dict(Sample, {"rate": "x"}, "config.toml")


def test_they_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Sample().rows = 3  # type: ignore[misc]

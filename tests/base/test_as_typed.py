"""Options in messages are as they are typed."""

from typing import Any

import pytest

from criteo_stream.base.as_typed import changed_option, with_option


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "without --x"),
        (False, "without --x"),
        ([], "without --x"),
        (True, "with --x"),
        (0, "with --x 0"),
        (0.5, "with --x 0.5"),
        ("a b", "with --x 'a b'"),
        (["a", "b"], "with --x a --x b"),
        (["long"] * 100, "with --x long --x long"),
    ],
)
def test_an_option_with_its_value(value: Any, text: str) -> None:
    assert with_option("--x", value).startswith(text)
    assert len(with_option("--x", value)) < 250


def test_what_changed() -> None:
    assert changed_option("--min-count", None, 3) == "without --min-count, now with --min-count 3"

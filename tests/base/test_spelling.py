"""What a misspelt word was meant to be."""

import pytest

from criteo_stream.base.spelling import did_you_mean, nearest, not_known


@pytest.mark.parametrize(
    ("word", "near"),
    [("fn", "fm"), ("FFMM", "ffm"), ("deep-fm", "deepfm"), ("zzz", None), ("", None)],
)
def test_the_nearest(word: str, near: str | None) -> None:
    assert nearest(word, ["fm", "ffm", "deepfm", "lr"]) == near


def test_another_word_for_it_comes_before_a_likeness() -> None:
    assert nearest("GPU", ["auto", "cpu", "cuda"]) == "cuda"
    assert nearest("gpu", ["auto", "cpu"]) == "cpu"


def test_messages() -> None:
    assert did_you_mean("--epoch", ["--epochs", "--keep"]) == ": did you mean --epochs?"
    assert did_you_mean("x", ["--epochs"]) == ""
    assert not_known("--split", "q", ["a", "b"]) == "--split q is not known: use a, b"
    assert not_known("--split", "tets", ["test"], ", or mine") == (
        "--split tets is not known (did you mean test?): use test, or mine"
    )

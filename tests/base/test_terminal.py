"""Text from anywhere is shown and never obeyed; streams that take nothing are no matter."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from criteo_stream.base import terminal
from criteo_stream.base.progress import Progress
from criteo_stream.base.terminal import ForgivingStream, say, visible

CHARACTERS = st.characters(exclude_categories=())  # surrogates too


@given(st.text(CHARACTERS))
def test_what_is_shown_can_be_printed(text: str) -> None:
    shown = visible(text)
    assert shown.isprintable()
    assert shown.encode().decode() == shown
    assert visible(shown) == shown
    assert visible(text, keep="\n").count("\n") == text.count("\n")


@given(st.text(CHARACTERS).filter(str.isprintable))
def test_what_prints_stays(text: str) -> None:
    assert visible(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", r"\x1b[2J"),
        ("\x9b31m", r"\x9b31m"),
        ("a\x7f\0\b", r"a\x7f\x00\x08"),
        ("a\r\n\tb", r"a\r\n\tb"),
        ("\u202egpj.\u2066\u200f", r"\u202egpj.\u2066\u200f"),
        ("\u2028\ufeff\U000e0041", r"\u2028\ufeff\U000e0041"),
        (os.fsdecode(b"caf\xe9"), r"caf\xe9"),
        ("\ud800", r"\ud800"),
        ("Müller, 数据 – ×", "Müller, 数据 – ×"),
    ],
)
def test_examples(text: str, shown: str) -> None:
    assert visible(text) == shown


class Broken(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("stream", [None, Broken(), closed()], ids=["none", "full", "closed"])
def test_a_stream_that_takes_nothing_ends_no_work(
    stream: io.StringIO | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    say("a line")
    assert not ForgivingStream(stream).isatty()
    with Progress("read", 10) as bar:
        bar.write("a line")
        bar.advance(10)
    assert bar.done == 10


def test_progress_shows_what_it_is_given() -> None:
    for stream in (io.StringIO(), Terminal()):
        with Progress("read", 10, stream=stream) as bar:
            bar.write("day\x1b[31m\n1")
        assert r"day\x1b[31m\n1" in stream.getvalue()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_file_never_takes_the_place_of_a_closed_stream(tmp_path: Path) -> None:
    code = (
        f"from {terminal.__name__} import *; open_standard_streams(); say('x'); print('y')\n"
        f"print(open({str(tmp_path / 'file')!r}, 'w').fileno(), file=open({str(tmp_path / 'n')!r},"
        " 'w'))"
    )
    subprocess.run(
        ["/bin/sh", "-c", f'exec "{sys.executable}" -c "$0" <&- >&- 2>&-', code], check=True
    )
    assert int((tmp_path / "n").read_text()) > 2
    assert (tmp_path / "file").read_text() == ""

"""Progress: rows are counted whatever the threads, and told in lines where there is no terminal."""

import io
import re
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from criteo_stream.base import progress
from criteo_stream.base.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    """Time that goes on only when it is told to."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


@given(
    first=st.integers(0, 10**6),
    steps=st.lists(st.integers(0, 10**6)),
    total=st.none() | st.integers(0, 10**9),
)
def test_rows_add_up(first: int, steps: list[int], total: int | None) -> None:
    for stream in (io.StringIO(), Terminal()):
        with Progress("read", total, done=first, stream=stream) as bar:
            for rows in steps:
                bar.advance(rows)
        assert bar.done == first + sum(steps)


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_several_threads_advance_it(stream: io.StringIO) -> None:
    begin = threading.Barrier(8)

    def work() -> None:
        begin.wait(60)
        for _ in range(500):
            bar.advance(3)

    with Progress("read", 8 * 500 * 3, stream=stream) as bar:
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert bar.done == 8 * 500 * 3


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_quiet_prints_nothing(clock: Clock, stream: io.StringIO) -> None:
    with Progress("read", 100, quiet=True, stream=stream) as bar:
        bar.write("a line")
        bar.note("loss 1")
        clock.now += 1000
        bar.advance(50)
    assert bar.done == 50
    assert not stream.getvalue()


def test_a_plain_line_now_and_then(clock: Clock) -> None:
    stream = io.StringIO()
    with Progress("read", 4000, done=1000, stream=stream) as bar:
        clock.now += 9.9
        bar.advance(500)
        assert not stream.getvalue()
        clock.now += 0.1
        bar.advance(500)
        assert stream.getvalue() == "read: 2,000 of 4,000 rows, 100 rows/s, 20 s left\n"
        clock.now += 9.9
        bar.advance(500)
        assert stream.getvalue().count("\n") == 1
        bar.note("loss 0.5")
        clock.now += 0.1
        bar.advance(1500)
    assert stream.getvalue().splitlines()[1:] == [
        "read: 4,000 of 4,000 rows, 150 rows/s, 0 s left  loss 0.5",
        "read: 4,000 of 4,000 rows, 150 rows/s in 20.0 s  loss 0.5",
    ]


def test_without_a_total(clock: Clock) -> None:
    stream = io.StringIO()
    with Progress("predict", None, stream=stream) as bar:
        clock.now += 10
        bar.advance(70)
    assert stream.getvalue() == (
        "predict: 70 rows, 7 rows/s\npredict: 70 rows, 7 rows/s in 10.0 s\n"
    )


@pytest.mark.parametrize(
    ("total", "done", "line"),
    [
        (0, 0, "fit: 0 rows, 0 rows/s in 0.0 s"),
        (None, 0, "fit: 0 rows, 0 rows/s in 0.0 s"),
        (5, 5, "fit: 5 of 5 rows, 0 rows/s in 0.0 s"),
    ],
)
def test_nothing_to_do(clock: Clock, total: int | None, done: int, line: str) -> None:
    stream = io.StringIO()
    with Progress("fit", total, done=done, stream=stream):
        pass
    assert stream.getvalue() == f"{line}\n"


def test_no_rows_for_a_while(clock: Clock) -> None:
    stream = io.StringIO()
    with Progress("fit", 8, unit="counts", stream=stream) as bar:
        clock.now += 60
        bar.advance(0)
    assert stream.getvalue().splitlines()[0] == "fit: 0 of 8 counts, 0 counts/s"


def test_a_failure_is_not_told_as_an_end(clock: Clock) -> None:
    stream = io.StringIO()
    bar = Progress("read", 4, stream=stream)
    with pytest.raises(KeyboardInterrupt), bar:
        raise KeyboardInterrupt
    assert not stream.getvalue()


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.floats(0.1, 1000))
def test_the_rate_leaves_out_what_an_earlier_try_did(first: int, rows: int, seconds: float) -> None:
    stream, clock = io.StringIO(), Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(progress, "time", clock)
        with Progress("read", None, done=first, stream=stream) as bar:
            clock.now += seconds
            bar.advance(rows)
    last = stream.getvalue().splitlines()[-1]
    found = re.fullmatch(r"read: ([\d,]+) rows, ([\d,]+) rows/s in ([\d.]+) s", last)
    assert found
    assert found[1] == f"{first + rows:,}"
    assert abs(int(found[2].replace(",", "")) - rows / seconds) <= 1
    assert found[3] == f"{seconds:.1f}"


def test_a_terminal_has_a_bar(clock: Clock) -> None:
    stream = Terminal()
    with Progress("read", 4000, done=1000, stream=stream) as bar:
        bar.note("loss 0.5")
        bar.advance(3000)
        bar.write("a line of its own")
    shown = re.split(r"[\r\n]+", stream.getvalue())
    assert "a line of its own" in [line.strip() for line in shown]
    assert "4.00k/4.00k" in shown[-2]
    assert "loss 0.5" in shown[-2]


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_how_many_rows_there_are_may_be_known_later(clock: Clock, stream: io.StringIO) -> None:
    with Progress("read", 100, stream=stream) as bar:
        clock.now += 10
        bar.expect(400)
        bar.advance(100)
        bar.expect(200)
        clock.now += 10
        bar.advance(100)
    shown = re.split(r"[\r\n]+", stream.getvalue().rstrip())
    if stream.isatty():
        assert "200/200" in shown[-1]
    else:
        assert shown == [
            "read: 100 of 400 rows, 10 rows/s, 30 s left",
            "read: 200 of 200 rows, 10 rows/s, 0 s left",
            "read: 200 of 200 rows, 10 rows/s in 20.0 s",
        ]


@given(st.none() | st.integers(0, 100), st.lists(st.integers(0, 10**6), min_size=1))
def test_the_last_word_of_how_many_counts(total: int | None, later: list[int]) -> None:
    stream = io.StringIO()
    with Progress("read", total, stream=stream) as bar:
        for number in later:
            bar.expect(number)
    of = f" of {later[-1]:,}" if later[-1] else ""
    unit = "row" if later[-1] == 1 else "rows"
    assert stream.getvalue().startswith(f"read: 0{of} {unit}, ")


class Ascii(Terminal):
    encoding = "ascii"  # type: ignore[assignment]


def test_a_terminal_has_colour_and_a_pipe_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    terminal, pipe = Terminal(), io.StringIO()
    for stream in (terminal, pipe):
        with Progress("train", 10, stream=stream) as bar:
            bar.write("the best \x1b[31m", highlight=True)
            bar.write("another")
    assert "\x1b[32mthe best \\x1b[31m\x1b[0m" in terminal.getvalue()
    assert "\x1b[32manother" not in terminal.getvalue()
    assert "\x1b" not in pipe.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    plain = Terminal()
    with Progress("train", 10, stream=plain) as bar:
        bar.write("the best", highlight=True)
    assert "\x1b[32m" not in plain.getvalue()


def test_what_a_stream_can_show_is_known() -> None:
    class Utf8(Terminal):
        encoding = "utf-8"  # type: ignore[assignment]

    assert [Progress("x", 1, stream=s, quiet=True).is_ascii for s in (Ascii(), Utf8())] == [
        True,
        False,
    ]


_NOTEBOOK = """
import sys
{before}
from criteo_stream.base.progress import Progress
with Progress("train", 10) as bar:
    bar.write("a line")
    bar.note("loss 0.5")
    bar.advance(10)
"""


@pytest.mark.parametrize("widgets", [True, False])
def test_a_notebook_has_a_bar_of_its_own_where_it_can_show_one(
    widgets: bool, tmp_path: Path
) -> None:
    import nbclient
    import nbformat

    before = "" if widgets else "sys.modules['ipywidgets'] = None"
    cell = nbformat.v4.new_code_cell(_NOTEBOOK.format(before=before))
    notebook = nbformat.v4.new_notebook(cells=[cell])
    nbclient.NotebookClient(notebook, timeout=120).execute(cwd=str(tmp_path))
    outputs = notebook.cells[0].outputs
    text = "".join(output.get("text", "") for output in outputs)
    assert "a line" in text
    assert "Warning" not in text
    bars = [o for o in outputs if "application/vnd.jupyter.widget-view+json" in o.get("data", {})]
    assert len(bars) == widgets
    if not widgets:
        assert "train: 10 of 10 rows" in text


def test_a_long_wait_is_told_in_minutes_and_hours(clock: Clock) -> None:
    stream = io.StringIO()
    with Progress("read", 100_000, stream=stream) as bar:
        for rows in (1000, 90_000):
            clock.now += 100
            bar.advance(rows)
        clock.now += 10_000
        bar.advance(1000)
    left = [line.partition("rows/s, ")[2] for line in stream.getvalue().splitlines()[:3]]
    assert left == ["2.8 h left", "20 s left", "15 min left"]

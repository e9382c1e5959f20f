"""Progress of long work: a bar on a terminal or in a notebook, elsewhere a line now and then."""

import importlib.util
import sys
import threading
import time
from types import TracebackType
from typing import Any, Final, Self, TextIO

from tqdm import tqdm

from criteo_stream.base.amounts import counted
from criteo_stream.base.terminal import ForgivingStream, has_colours, visible

_PLAIN_SECONDS: Final = 10.0
"""Seconds between two lines where there is no terminal."""


class Progress:
    """Shows how many rows of a stage are done, how fast, and the time left.

    Args:
        stage: name of the bar.
        total: rows of the whole stage; None if unknown.
        done: rows that an earlier try has finished; they do not count towards the speed.
        quiet: show nothing.
        unit: what is counted, where it is not rows.
        stream: where to show it; default stderr.
    """

    def __init__(
        self,
        stage: str,
        total: int | None,
        *,
        done: int = 0,
        quiet: bool = False,
        unit: str = "rows",
        stream: TextIO | None = None,
    ) -> None:
        self._stage = stage
        self._unit = unit
        self._total = total
        self._first = self._done = done
        self._notebook = stream is None and _in_notebook()
        # A notebook shows what comes on stderr as an error.
        self._stream = ForgivingStream(stream or (sys.stdout if self._notebook else sys.stderr))
        self._plain = not quiet and not self._notebook and not self._stream.isatty()
        self._start = self._shown = time.monotonic()
        self._notes = ""
        self._lock = threading.Lock()
        shape: dict[str, Any] = {"dynamic_ncols": True, "file": self._stream}
        self._bar = (_notebook_bar() if self._notebook and not quiet else tqdm)(
            total=total,
            initial=done,
            desc=stage,
            unit=f" {unit}",
            unit_scale=True,
            disable=quiet or self._plain,
            **({} if self._notebook else shape),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._plain and kind is None:
            self._print_line(done=True)
        self._bar.close()

    @property
    def done(self) -> int:
        """Rows done, including those of an earlier try."""
        return self._done

    def expect(self, total: int) -> None:
        """Say how many rows there are, now that it is known better."""
        with self._lock:
            self._total = self._bar.total = total

    def advance(self, rows: int) -> None:
        """Count more rows as done; any thread may call it."""
        with self._lock:
            self._done += rows
            self._bar.update(rows)
            if self._plain and time.monotonic() - self._shown >= _PLAIN_SECONDS:
                self._print_line()

    def note(self, text: str) -> None:
        """Show figures beside the bar, such as the loss."""
        self._notes = text
        self._bar.set_postfix_str(text, refresh=False)

    @property
    def is_ascii(self) -> bool:
        """Whether what is shown had better be ASCII."""
        try:
            "★".encode(getattr(self._stream, "encoding", None) or "ascii")
        except (UnicodeEncodeError, LookupError, TypeError):
            return True
        return False

    def write(self, line: str, *, highlight: bool = False) -> None:
        """Print a line without tearing the bar; a terminal shows a highlighted one in green."""
        line = visible(line)
        if self._plain or (self._notebook and not self._bar.disable):
            self._stream.write(line + "\n")
        elif not self._bar.disable:
            if highlight and has_colours(self._stream):
                line = f"\x1b[32m{line}\x1b[0m"
            self._bar.write(line, file=self._stream)

    def _print_line(self, *, done: bool = False) -> None:
        self._shown = time.monotonic()
        seconds = max(self._shown - self._start, 1e-9)
        rate = (self._done - self._first) / seconds
        unit = self._unit.removesuffix("s")
        if self._total:
            parts = [f"{self._stage}: {self._done:,} of {counted(self._total, unit)},"]
        else:
            parts = [f"{self._stage}: {counted(self._done, unit)},"]
        speed = f"{rate:,.0f} {self._unit}/s"
        if done:
            speed += f" in {seconds:.1f} s"
        elif self._total and rate:
            speed += f", {_in_words((self._total - self._done) / rate)} left"
        parts.append(speed)
        self.write(f"{' '.join(parts)}  {self._notes}".rstrip())


def _in_words(seconds: float) -> str:
    """A time to wait, in a unit that makes it a small number."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _in_notebook() -> bool:
    """Whether this runs in a notebook that can show a bar: without ipywidgets it cannot."""
    if "ipykernel" not in sys.modules or importlib.util.find_spec("ipywidgets") is None:
        return False
    from IPython import get_ipython

    return getattr(get_ipython(), "kernel", None) is not None


def _notebook_bar() -> Any:
    from tqdm.notebook import tqdm as notebook_bar

    return notebook_bar

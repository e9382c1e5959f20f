"""One page about a run, or several side by side: self-contained HTML.

In the order of the data::

    columns.py     what the columns of a data set hold
    importance.py  how much each field moves the logit
    facts.py       runs → all that a report tells
    verdict.py     what the figures mean, in words
    tables.py      what was trained, as text
    figures.py     curves and axes as Plotly reads them, in the page's own colours
    charts.py      pictures of training, columns and resources
    score_charts.py  pictures of rows by their score
    page.py        all of it → HTML, by page.html, page.css and page.js
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from criteo_stream.base.errors import OutputError, UsageError
from criteo_stream.base.paths import user_path
from criteo_stream.base.storage import make_folder, write_bytes
from criteo_stream.report.facts import RunFacts, gather
from criteo_stream.report.page import render

__all__ = ["Report", "write_report"]


@dataclass(frozen=True, kw_only=True)
class Report:
    """A page that was written."""

    out: Path
    bytes: int
    split: str
    runs: list[RunFacts]
    """The runs that it tells of."""

    def to_dict(self) -> dict[str, object]:
        """Plain values by name, as ``--json`` prints them: figures and differences of each run."""
        return {
            "out": str(self.out),
            "bytes": self.bytes,
            "split": self.split,
            "runs": [
                {
                    "run": run.path,
                    **run.evaluation.to_dict(),
                    "difference": run.difference and run.difference.to_dict(),
                }
                for run in self.runs
            ],
        }


def write_report(
    runs: Sequence[Path],
    out: Path,
    *,
    split: str = "valid",
    data: Path | None = None,
    trust_model: bool | str = False,
    quiet: bool = False,
) -> Report:
    """Evaluate runs on a split and write a page about them.

    Args:
        runs: folders of runs; the later ones are compared with the first.
        out: the HTML file.
        split: what the best weights are evaluated on.
        data: a data set with the runs' fit; default the one that each was trained on.
        trust_model: whether a recorded model by import path may be imported, see `load_run`.
        quiet: show no progress.

    Raises:
        UsageError: there is no run or no such split, or ``out`` is a folder or no
            ``.html`` file.
        OutputError: ``out`` is a file that is not a report.
        RunError: a folder is not a run, or has no sound best checkpoint.
        DataSetError: a data set is missing, incomplete, of another fit, or the split is empty.
    """
    out = user_path(out)
    if not runs:
        raise UsageError("there is no run to report on: name its folder")
    if out.is_dir():
        raise UsageError(f"--out {out} is a folder: name a file, such as {out / 'report.html'}")
    if out.suffix.lower() not in {".html", ".htm"}:
        raise UsageError(f"--out {out} must end in .html: a report is an HTML page")
    if out.exists() and not _is_report(out):
        raise OutputError(f"{out} exists and is not a report: choose another --out")
    facts = gather(runs, split, data=data, trust_model=trust_model, quiet=quiet)
    page = render(facts, split).encode()
    make_folder(out.parent)
    write_bytes(out, page, shared=True)
    return Report(out=out, bytes=len(page), split=split, runs=facts)


def _is_report(path: Path) -> bool:
    """Whether a file is an earlier report, or empty."""
    with path.open("rb") as file:
        head = file.read(4096)
    return not head or b"criteo-stream report" in head

"""One page about a run, or several side by side: self-contained HTML.

In the order of the data::

    columns.py     what the columns of a data set hold
    importance.py  how much each field moves the logit
    facts.py       runs → all that a report tells
    svg.py         a figure as SVG in the page's own colours
    charts.py      the pictures
    page.py        facts and pictures → HTML, by the template page.html
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from criteo_stream.base.errors import UsageError
from criteo_stream.base.storage import write_bytes
from criteo_stream.report.facts import gather
from criteo_stream.report.page import render

__all__ = ["write_report"]


def write_report(
    runs: Sequence[Path],
    out: Path,
    *,
    split: str = "valid",
    data: Path | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Evaluate runs on a split and write a page about them.

    Args:
        runs: folders of runs; the later ones are compared with the first.
        out: the HTML file.
        split: what the best weights are evaluated on.
        data: a data set with the runs' fit; default the one that each was trained on.
        quiet: show no progress.

    Returns:
        ``out``, ``bytes``, ``split``, and ``runs``: of each its path, its figures as `evaluate_run`
        gives them, and ``difference`` from the first run, or None.

    Raises:
        UsageError: there is no run or no such split, or ``out`` is a folder.
        RunError: a folder is not a run, or has no sound best checkpoint.
        DataSetError: a data set is missing, incomplete, of another fit, or the split is empty.
    """
    if not runs:
        raise UsageError("there is no run to report on: name its folder")
    if out.is_dir():
        raise UsageError(f"--out {out} is a folder: name a file, such as {out / 'report.html'}")
    facts = gather(runs, split, data=data, quiet=quiet)
    page = render(facts, split).encode()
    out.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(out, page)
    return {
        "out": str(out),
        "bytes": len(page),
        "split": split,
        "runs": [
            {
                "run": f.path,
                **f.evaluation.to_dict(),
                "difference": f.difference and f.difference.to_dict(),
            }
            for f in facts
        ],
    }

"""What a notebook shows of results and data sets: escaped tables of a few rows."""

import html.parser
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from criteo_stream import CriteoDataset, PrepareResult
from criteo_stream.base.notebook import table_html
from criteo_stream.data.manifest import Manifest
from criteo_stream.metrics.figures import DetailedEvaluation, Difference, Evaluation
from criteo_stream.metrics.scores import CalibrationPart
from criteo_stream.runs.history import HistoryLine
from criteo_stream.train.result import TrainResult

ODD = Path("a <b> & c")
ALLOWED = {"table", "caption", "thead", "tbody", "tr", "th", "td"}


class Cells(html.parser.HTMLParser):
    """Text of the cells; every element is one of a plain table and is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in ALLOWED
        assert not attrs
        self.open.append(tag)
        if tag in {"caption", "th", "td"}:
            self.texts.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts[-1] += data


EVALUATION = Evaluation(
    auc=0.75, log_loss=None, ne=0.9, calibration=1.0, rows=12345, positives=2345
)
PART = CalibrationPart(
    rows=9, positives=1, predicted=0.1, click_rate=0.11, click_rate_interval=None
)
DETAILED = DetailedEvaluation(
    **vars(EVALUATION),
    auc_interval=(0.7, 0.8),
    log_loss_interval=None,
    calibration_curve=[PART] * 50,
)
DIFFERENCE = Difference(
    auc=0.001, auc_interval=(-0.001, 0.003), log_loss=-0.002, log_loss_interval=(-0.003, 0.0)
)
LINE = HistoryLine(
    epoch=1,
    step=77,
    rows=5000,
    train_loss=0.5,
    learning_rate=0.01,
    auc=0.76,
    log_loss=0.45,
    ne=0.9,
    calibration=None,
    rows_per_second=100,
    waited_for_data=0.0,
    peak_memory_bytes=10**9,
)
TRAINED = TrainResult(
    run=ODD,
    steps=1234,
    rows=56789,
    seconds=12.34,
    rows_per_second=4600.0,
    peak_memory_bytes=2 * 10**9,
    peak_device_memory_bytes=None,
    best=LINE,
    resumed_from=None,
    finished=True,
    history=[LINE] * 100,
)


def prepared(data: Path) -> PrepareResult:
    return PrepareResult(
        out=ODD,
        manifest=Manifest.read(data),
        seconds=2.0,
        peak_memory_bytes=10**9,
        stages={},
        resumed=False,
        warnings=["5 < 6"],
    )


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (EVALUATION, ["12,345 rows, 2,345 positives", "AUC", "0.750000", "log loss", "undefined"]),
        (DETAILED, ["AUC", "0.750000", "0.700000 to 0.800000", "log loss", "undefined", ""]),
        (DIFFERENCE, ["+0.001000", "-0.001000 to +0.003000", "log loss", "-0.002000"]),
        (TRAINED, [str(ODD), "1,234", "56,789", "2 GB", "best step", "77", "AUC", "0.760000"]),
        (replace(TRAINED, best=None, finished=False), [f"{ODD} (stopped)", "1,234"]),
    ],
    ids=["evaluation", "detailed", "difference", "trained", "stopped"],
)
def test_a_result_is_a_table(shown: Any, expected: list[str]) -> None:
    cells = Cells(shown._repr_html_()).texts
    assert set(expected) <= set(cells)
    assert len(cells) < 30


def test_a_preparation_is_a_table_and_a_sentence(data: Path) -> None:
    result = prepared(data)
    cells = Cells(result._repr_html_()).texts
    assert {str(ODD), "rows, train", "710", "1 GB", "5 < 6"} <= set(cells)
    sentence = f"{ODD}: 710 training, 150 valid and 120 test rows (0 rejected) in 2.0 s"
    assert str(result).startswith(sentence)
    assert repr(result) == f"<PrepareResult {result}>"


def test_a_data_set_is_a_table_and_a_line(data: Path) -> None:
    dataset = CriteoDataset(data, batch_size=100)
    cells = Cells(dataset._repr_html_()).texts
    assert {f"{data}, train", "rows", "710", "batches", "8", "13", "26"} <= set(cells)
    positives = int(sum(label.sum() for _, label in dataset))
    assert cells[cells.index("positives") + 1] == str(positives)
    assert repr(dataset) == f"<CriteoDataset {data}, train: 710 rows in 8 batches of 100>"


@pytest.mark.parametrize("shown", [EVALUATION, DETAILED, DIFFERENCE])
def test_figures_are_a_line_of_text(shown: Any) -> None:
    assert str(shown) == shown.text()
    assert "CalibrationPart" not in repr(shown)


def test_a_training_is_a_line_of_text() -> None:
    assert str(TRAINED) == TRAINED.summary()
    assert repr(TRAINED) == f"<TrainResult {TRAINED}>"


def test_markup_in_text_stays_text() -> None:
    found = Cells(table_html("<i>", [("<script>", "a & b", 5)], ("", "x<", "y"))).texts
    assert found == ["<i>", "", "x<", "y", "<script>", "a & b", "5"]

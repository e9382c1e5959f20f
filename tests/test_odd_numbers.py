"""Numbers that are odd but possible: each works, or is refused in one sentence.

Options are found by their declarations: a new one is tried without a word here.
"""

import math
from pathlib import Path
from typing import Any

import pytest

from criteo_stream import CriteoDataset, Trainer
from criteo_stream.base.errors import CriteoStreamError, UsageError
from criteo_stream.base.options import Option, declared
from criteo_stream.prepare.options import PrepareExecution, PrepareOptions
from criteo_stream.prepare.pipeline import preprocess
from criteo_stream.runs.config import TrainConfig
from criteo_stream.runs.execution import Execution
from criteo_stream.synthetic import write_synthetic
from tests.support.data_sets import prepare
from tests.support.training import CONFIG, tiny_set

INTEGERS = [
    -(10**5000), -(2**63), -1, 0, 1, 2, 10**6, 2**31 - 1, 2**31, 2**32, 10**9,
    2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**400, 10**5000,
]  # fmt: skip
REALS = [
    -math.inf, -1e308, -1.0, -5e-324, 0.0, 5e-324, 1e-300, 1e-45, 1e-38, 0.5, 1 - 2**-53, 1.0,
    1e30, 1e39, 1e308, math.inf, math.nan, 10**400, -(10**400),
]  # fmt: skip
WORK = {"epochs", "embedding_dim", "bins", "threads", "block_rows"}
"""Large ones are no nonsense: they take time, memory or threads."""


def numeric(cls: type) -> list[Option]:
    return [option for option in declared(cls).values() if option.kind in (int, float)]


def cases(*classes: type) -> list[Any]:
    return [
        pytest.param(cls, option, id=f"{cls.__name__}.{option.name}")
        for cls in classes
        for option in numeric(cls)
    ]


def tried(option: Option) -> list[float]:
    return INTEGERS if option.kind is int else REALS


def assert_one_sentence(error: CriteoStreamError, name: str = "") -> None:
    text = str(error)
    assert name.replace("_", "-") in text.replace("_", "-")
    assert len(text) < 600
    assert "\n" not in text


def accepted(cls: type, option: Option) -> list[float]:
    found = []
    for value in tried(option):
        try:
            cls(**{option.name: value})
        except UsageError as error:
            assert_one_sentence(error, option.name)
        else:
            found.append(value)
    return found


@pytest.mark.parametrize(
    ("cls", "option"), cases(TrainConfig, Execution, PrepareOptions, PrepareExecution)
)
def test_a_number_is_taken_or_refused_in_one_sentence(cls: type, option: Option) -> None:
    values = accepted(cls, option)
    assert 0 < len(values) < len(tried(option)), "it has no bounds, or none within reach"


def extremes(cls: type, option: Option) -> list[float]:
    """The smallest and the largest that are taken, and of reals the smallest above zero too."""
    values = sorted(accepted(cls, option))
    if option.name in WORK:
        return values[:2]
    return sorted({values[0], *[value for value in values if value > 0][:1], values[-1]})


@pytest.fixture(scope="module")
def few_rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_set(tmp_path_factory.mktemp("few") / "set", train=(130,), valid=(40,), test=(40,))


@pytest.mark.usefixtures("no_waiting_for_the_disk")
@pytest.mark.parametrize(("cls", "option"), cases(TrainConfig, Execution))
def test_every_number_that_is_taken_trains_or_is_told(
    cls: type, option: Option, few_rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("criteo_stream.train.assembly.plot_all", lambda history, folder: [])
    for number, value in enumerate(extremes(cls, option)):
        config, execution = dict(CONFIG), {"workers": 0, "threads": 1, "quiet": True}
        (config if cls is TrainConfig else execution)[option.name] = value
        try:
            run = Trainer(few_rows, tmp_path / str(number), TrainConfig(**config), **execution)  # type: ignore[arg-type]
            result = run.fit()
        except CriteoStreamError as error:
            assert_one_sentence(error)
        else:
            assert result.best is not None
            assert result.best.log_loss is None or math.isfinite(result.best.log_loss)


@pytest.mark.usefixtures("no_waiting_for_the_disk")
@pytest.mark.parametrize(("cls", "option"), cases(PrepareOptions, PrepareExecution))
def test_every_number_that_is_taken_prepares_or_is_told(
    cls: type, option: Option, tmp_path: Path
) -> None:
    write_synthetic(tmp_path / "raw.tsv", 40)
    for number, value in enumerate(extremes(cls, option)):
        try:
            result = prepare(tmp_path / "raw.tsv", tmp_path / str(number), **{option.name: value})
        except CriteoStreamError as error:
            assert_one_sentence(error)
        else:
            assert result.manifest.rows["read"] == 40


def test_a_threshold_that_no_value_reaches_is_told(tmp_path: Path) -> None:
    write_synthetic(tmp_path / "raw.tsv", 200)
    assert prepare(tmp_path / "raw.tsv", tmp_path / "usual", min_count=2).warnings == []
    (warning,) = prepare(tmp_path / "raw.tsv", tmp_path / "none", min_count=10**6).warnings
    assert warning.startswith("no categorical value comes 1,000,000 times in the training split")


@pytest.mark.parametrize("memory", ["9" * 30, "9" * 400, 2**63, 10**400, "1e9", 0, -1])
def test_memory_is_a_size(memory: str | int, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        preprocess(tmp_path, tmp_path / "out", memory=memory)
    assert len(str(caught.value)) < 120


@pytest.mark.parametrize(
    "odd",
    [
        {"rows": -1}, {"rows": 2**63}, {"rows": 10**400}, {"rows": 1.5},
        {"start": -1}, {"start": 2**63}, {"start": 10**30}, {"start": math.nan},
        {"seed": -1}, {"seed": 2**64}, {"seed": 10**400}, {"seed": 1.5},
    ],
    ids=str,
)  # fmt: skip
def test_synthetic_logs_refuse_what_they_cannot_draw(odd: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is out of range: give a whole number from 0 to"):
        write_synthetic(tmp_path / "raw.tsv", **{"rows": 10, **odd})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("extreme", [{"seed": 2**64 - 1}, {"start": 2**63 - 11}, {"rows": 0}])
def test_synthetic_logs_take_the_extremes(extreme: dict[str, int], tmp_path: Path) -> None:
    found = write_synthetic(tmp_path / "raw.tsv", **{"rows": 10, **extreme})
    assert found["rows"] == extreme.get("rows", 10)


@pytest.mark.parametrize("name", ["batch_size", "lanes", "seed"])
@pytest.mark.parametrize("value", [-1, 2**64, 10**400])
def test_a_data_set_refuses_them_too(name: str, value: int, few_rows: Path) -> None:
    with pytest.raises(UsageError) as caught:
        CriteoDataset(few_rows, **{name: value})  # type: ignore[arg-type]
    assert_one_sentence(caught.value)

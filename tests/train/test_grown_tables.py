"""A run that goes on with a larger vocabulary: old rows keep weights and moments."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from criteo_stream import CriteoDataset, CriteoLoader, TrainConfig, evaluate_run
from criteo_stream.base.errors import DataSetError, RunError
from criteo_stream.base.schema import CATEGORICAL_COLUMNS
from criteo_stream.data.manifest import Manifest
from criteo_stream.metrics.streaming import BinaryMetrics
from criteo_stream.models import build_model
from criteo_stream.models.field_table import FieldLayout
from criteo_stream.predict.export import export_run
from criteo_stream.predict.restore import load_run
from criteo_stream.predict.scorer import predict_run
from criteo_stream.runs.checkpoint_folder import CheckpointFolder
from criteo_stream.runs.config_file import read_record
from criteo_stream.runs.state import moments_in, weights_in
from criteo_stream.train.optimizers import Optimizers
from criteo_stream.train.schedule import learning_rate_factor
from tests.support.data_sets import prepare
from tests.support.processes import start
from tests.support.raw_lines import raw_lines, write_raw
from tests.support.training import CONFIG, as_flags, farthest, fit, outcome, stop_after, weights

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")

OPTIONS: dict[str, Any] = {"block_rows": 300, "min_count": 3}
TABLE = "table.weight"


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Sets of three days, each extending the one before, and one that extends none."""
    folder = tmp_path_factory.mktemp("days")
    made: list[Path] = []
    for day, rows in enumerate((500, 450, 400)):
        write_raw(folder / f"log_{day}", raw_lines(rows, seed=day))
        options = {"extend": made[-1], "block_rows": 300} if made else OPTIONS
        prepare(folder / f"log_{day}", folder / f"set_{day}", **options)
        made.append(folder / f"set_{day}")
    prepare(folder / "log_1", folder / "alone", **OPTIONS)
    return [*made, folder / "alone"]


@pytest.fixture(scope="module")
def first(days: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "first"
    fit(days[0], run, epochs=2)
    return run


def layout(data: Path) -> FieldLayout:
    return FieldLayout(tuple(Manifest.read(data).categories), 13, CONFIG["bins"])


def by_column(table: Tensor, of: FieldLayout) -> list[Tensor]:
    return list(table.split(of.sizes))


def tensors(run: Path) -> dict[str, Tensor]:
    return CheckpointFolder(run / "checkpoints").load_best().tensors


@pytest.mark.parametrize("model", ["fm", "lr", "ffm", "deepfm"])
def test_old_rows_keep_weights_and_moments_and_new_ones_begin(
    model: str, days: list[Path], tmp_path: Path
) -> None:
    fit(days[0], tmp_path / "first", model=model)
    # A rate of zero leaves the weights as they were taken.
    fit(days[1], tmp_path / "second", model=model, from_run=tmp_path / "first", learning_rate=0.0)
    old, new = tensors(tmp_path / "first"), tensors(tmp_path / "second")
    before, after = layout(days[0]), layout(days[1])
    config = TrainConfig(**{**CONFIG, "model": model}).resolved(1)
    fresh = build_model(config, Manifest.read(days[1])).state_dict()[TABLE]
    grown = 0
    for was, now, begun in zip(
        by_column(weights_in(old)[TABLE], before),
        by_column(weights_in(new)[TABLE], after),
        by_column(fresh, after),
        strict=True,
    ):
        assert torch.equal(now[: len(was)], was)
        assert torch.equal(now[len(was) :], begun[len(was) :])
        grown += len(now) - len(was)
    assert grown > 50
    for name, tensor in weights_in(old).items():
        if name != TABLE:
            assert torch.equal(weights_in(new)[name], tensor), name


def test_training_goes_on_as_a_plain_loop_would(
    days: list[Path], first: Path, tmp_path: Path
) -> None:
    """The same bits as a model put together by hand, moments included, and stepped by hand."""
    fit(days[1], tmp_path / "second", from_run=first)
    manifest, old = Manifest.read(days[1]), tensors(first)
    before, after = layout(days[0]), layout(days[1])
    torch.set_num_threads(1)
    config = TrainConfig(**CONFIG).resolved(manifest.rows["train"])
    model = build_model(config, manifest)
    optimizers = Optimizers(
        model,
        l2_linear=config.l2_linear,
        l2_embedding=config.l2_embedding,
        epsilon=config.epsilon,
    )

    def placed(name: str, tensor: Tensor) -> Tensor:
        if not name.startswith(TABLE) or tensor.dim() < 2:
            return tensor
        fresh = model.state_dict()[TABLE] if name == TABLE else torch.zeros(after.rows, 5)
        parts = zip(by_column(tensor, before), by_column(fresh, after), strict=True)
        return torch.cat([torch.cat([was, now[len(was) :]]) for was, now in parts])

    optimizers.load_state_tensors({n: placed(n, t) for n, t in moments_in(old).items()})
    model.load_state_dict({n: placed(n, t) for n, t in weights_in(old).items()})
    dataset = CriteoDataset(days[1], "train", CONFIG["batch_size"], lanes=CONFIG["lanes"])
    for step, ((numeric, categorical), label) in enumerate(CriteoLoader(dataset)):
        warmup = round(config.warmup * dataset.steps)
        factor = learning_rate_factor(step, dataset.steps, warmup)
        optimizers.set_learning_rate(config.learning_rate * factor)
        logits = model(numeric, categorical)
        loss = F.binary_cross_entropy_with_logits(logits, label, reduction="sum")
        (loss * (1 / len(label))).backward()  # type: ignore[no-untyped-call]
        optimizers.step()
        optimizers.zero_grad()
    found = weights(tmp_path / "second")
    assert all(torch.equal(found[name], tensor) for name, tensor in model.state_dict().items())


def test_a_grown_run_continues_exactly_and_needs_the_first_no_more(
    days: list[Path], first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(first, tmp_path / "first")
    plan = {"epochs": 2, "checkpoint_every": 64, "from_run": tmp_path / "first"}
    fit(days[2], tmp_path / "whole", **plan)
    with monkeypatch.context() as patch:
        stop_after(patch, 9)
        assert not fit(days[2], tmp_path / "halves", **plan).finished
    shutil.move(tmp_path / "first", tmp_path / "elsewhere")
    fit(days[2], tmp_path / "halves", **plan)
    assert outcome(tmp_path / "whole") == outcome(tmp_path / "halves")


def test_two_ranks_grow_alike(days: list[Path], first: Path, tmp_path: Path) -> None:
    fit(days[1], tmp_path / "one", from_run=first)
    arguments = ["train", str(days[1]), "--out", str(tmp_path / "two"), "--from", str(first)]
    running = start([*arguments, *as_flags()], tmp_path, ranks=2)
    assert running.wait() == [0, 0], running.text()
    assert farthest(weights(tmp_path / "one"), weights(tmp_path / "two")) < 1e-5


def test_other_lineages_are_refused_by_name(days: list[Path], first: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not of one lineage: prepare it with --extend"):
        fit(days[3], tmp_path / "x", from_run=first)
    fit(days[1], tmp_path / "second", from_run=first)
    with pytest.raises(RunError, match="the data set is older than"):
        fit(days[0], tmp_path / "y", from_run=tmp_path / "second")
    with pytest.raises(DataSetError, match="encoded with another fit"):
        evaluate_run(first, "train", data=days[3], quiet=True)
    with pytest.raises(RunError, match="do not fit the model"):
        fit(days[1], tmp_path / "z", from_run=first, embedding_dim=8)


def test_an_old_run_reads_newer_sets(days: list[Path], first: Path, tmp_path: Path) -> None:
    """Ids that it never had are OOV to it, on all rows."""
    record = read_record(first / "config.toml")
    assert record.categories == Manifest.read(days[0]).categories
    assert record.lineage == Manifest.read(days[0]).lineage
    model = load_run(first).model.eval()
    metrics = BinaryMetrics()
    sizes = torch.tensor(record.categories)
    unknown = 0
    for split in ("train", "valid", "test"):
        dataset = CriteoDataset(days[2], split, 4096, shuffle=False)
        for (numeric, categorical), label in dataset:
            unknown += int((categorical >= sizes).sum())
            known = torch.where(categorical < sizes, categorical, 0).int()
            with torch.no_grad():
                metrics.update(model(numeric, known), label)
    assert unknown > 100
    found = evaluate_run(first, "all", data=days[2], quiet=True)
    wanted = metrics.compute()
    assert (found.auc, found.log_loss, found.rows) == (wanted.auc, wanted.log_loss, 400)
    raw = days[0].parent / "log_2"
    predict_run(first, raw, tmp_path / "own.parquet", quiet=True)
    predict_run(first, raw, tmp_path / "newer.parquet", data=days[2], quiet=True)
    assert (tmp_path / "own.parquet").read_bytes() == (tmp_path / "newer.parquet").read_bytes()
    with pytest.raises(DataSetError, match="encoded with another fit"):
        export_run(first, "safetensors", tmp_path / "e", data=days[2])


def test_a_new_run_reads_older_sets(days: list[Path], first: Path, tmp_path: Path) -> None:
    fit(days[1], tmp_path / "second", from_run=first, learning_rate=0.0)
    older, newer = (
        evaluate_run(run, "all", data=days[0], quiet=True) for run in (first, tmp_path / "second")
    )
    assert (older.auc, older.log_loss) == (newer.auc, newer.log_loss)
    raw = days[0].parent / "log_0"
    with pytest.raises(DataSetError, match="older than the run and lacks values"):
        predict_run(tmp_path / "second", raw, tmp_path / "p.csv", data=days[0], quiet=True)
    assert len(CATEGORICAL_COLUMNS) == len(read_record(first / "config.toml").categories)

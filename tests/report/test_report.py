"""The report: what it says, and that it needs nothing else."""

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

from criteo_stream.base.errors import DataSetError, RunError, UsageError
from criteo_stream.data.dataset import CriteoDataset
from criteo_stream.data.manifest import Manifest
from criteo_stream.models import FM
from criteo_stream.predict.evaluate import compare_runs, evaluate_run
from criteo_stream.prepare.quantiles import QuantileTable
from criteo_stream.report import write_report
from criteo_stream.report.columns import column_facts, quantile_curve
from criteo_stream.report.importance import fm_parts, importance
from tests.support.data_sets import prepare
from tests.support.page import NASTY, Page, figures, without_scripts
from tests.support.raw_lines import raw_lines, write_raw
from tests.support.training import fit


@pytest.fixture(scope="module")
def reports(runs: list[Path]) -> dict[int, tuple[dict[str, Any], str]]:
    """Of one run and of both: what the call returned, and the page."""
    found = {}
    for number in (1, 2):
        out = runs[0].parent / f"{number}.html"
        figures = write_report(runs[:number], out, quiet=True).to_dict()
        assert figures["bytes"] == out.stat().st_size
        found[number] = figures, out.read_text(encoding="utf-8")
    return found


def test_figures_are_those_of_evaluate(
    reports: dict[int, tuple[dict[str, Any], str]], runs: list[Path]
) -> None:
    figures, text = reports[2]
    words = Page(text).words
    for run, told in zip(runs, figures["runs"], strict=True):
        expected = evaluate_run(run, "valid", quiet=True).to_dict()
        assert {key: told[key] for key in expected} == expected
        assert told["run"] == str(run)
        for key in ("auc", "log_loss"):
            low, high = expected[f"{key}_interval"]
            assert f"{expected[key]:.4f}" in words
            assert f"{low:.4f} to {high:.4f}" in words
    assert figures["runs"][0]["difference"] is None
    difference = compare_runs(runs[1], runs[0], "valid", quiet=True).difference.to_dict()
    assert figures["runs"][1]["difference"] == difference
    assert f"{difference['auc']:+.5f}" in words


def test_rows_that_were_left_out_are_told_and_predictions_are_of_all_rows(
    data: Path, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"min_count": 3, "keep_negatives": 0.2}
    manifest = prepare(data.parent / "raw.txt", tmp_path / "data", **options).manifest
    fit(tmp_path / "data", tmp_path / "run")
    (told,) = write_report([tmp_path / "run"], tmp_path / "r.html", quiet=True).runs
    words = Page((tmp_path / "r.html").read_text(encoding="utf-8")).words
    expected = f"{manifest.thinned:,} negatives of the training split thinned"
    assert any(expected in text for text in words)
    assert told.evaluation.calibration == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("number", [1, 2])
def test_every_section_is_there(
    reports: dict[int, tuple[dict[str, Any], str]], number: int
) -> None:
    page = Page(reports[number][1])
    sections = {"runs", "training", "scores", "columns", "profile", "resources", "setup"}
    sections |= {"comparison"} if number == 2 else set()
    assert {attrs.get("id") for tag, attrs in page.tags if tag == "section"} == sections
    titles = ["Log loss over training", "AUC over training", "Calibration curve", "ROC curve"]
    titles += ["Precision and recall", "Cumulative gains", "Lift", "Fields by importance"]
    titles += ["Rows per second", "Peak memory"]
    titles += ["Scores"] if number == 1 else [f"Scores: {name}" for name in (NASTY, "plain")]
    titles += [f"I{i}" for i in range(1, 14)] + [f"C{i}" for i in range(1, 27)]
    assert not set(titles) - set(page.words)
    pictures = [attrs for _, attrs in page.tags if attrs.get("class") == "plot"]
    assert len(pictures) == 3 + 5 + number + 1 + 13 + 3
    assert all(picture["role"] == "img" and picture["aria-label"] for picture in pictures)
    assert {picture["id"] for picture in pictures} == figures(reports[number][1]).keys()


@pytest.mark.parametrize("number", [1, 2])
def test_plotly_knows_every_word_of_the_pictures(
    reports: dict[int, tuple[dict[str, Any], str]], number: int
) -> None:
    from plotly import graph_objects

    drawn = figures(reports[number][1])
    for key, figure in drawn.items():
        graph_objects.Figure(colored(figure))
        for axis in ("xaxis", "yaxis"):
            title = figure["layout"][axis].get("title", {}).get("text")
            assert title or (key, axis) == ("chart-importance-0", "yaxis")
        points = sum(len(trace["x"]) for trace in figure["data"])
        assert points <= 210 * number, "the page stays small"
    stars = {
        key
        for key, figure in drawn.items()
        for trace in figure["data"]
        if trace.get("marker", {}).get("symbol") == "star"
    }
    assert stars == {
        f"chart-{key}"
        for key in (
            "roc", "precision-recall", "gains", "lift", "log-loss-over-training",
            "auc-over-training",
        )
    }  # fmt: skip


def colored(value: Any) -> Any:
    """A figure with a colour that Plotly knows for each of the page's own."""
    if isinstance(value, dict):
        return {key: colored(part) for key, part in value.items()}
    if isinstance(value, list):
        return [colored(part) for part in value]
    return "red" if isinstance(value, str) and value.startswith("--") else value


def test_the_page_begins_with_a_verdict_and_says_what_it_is_about(
    reports: dict[int, tuple[dict[str, Any], str]], runs: list[Path], data: Path
) -> None:
    words = Page(reports[2][1]).words
    body = words.index(next(w for w in words if w.startswith("criteo-stream report: best")))
    first = next(i for i, w in enumerate(words) if "AUC" in w)
    assert NASTY in words[first]
    assert "plain" in words[first]
    assert first < body
    manifest = Manifest.read(data)
    told = next(w for w in words if w.startswith("data, "))
    assert f"{manifest.rows['train']:,} training rows" in told
    assert f"fingerprint {manifest.fingerprint}" in told
    assert any(f"torch {torch.__version__}" in w and f"polars {pl.__version__}" in w for w in words)
    written = datetime.fromtimestamp((runs[0] / "history.jsonl").stat().st_mtime, UTC)
    assert f"{NASTY}: {written:%Y-%m-%d %H:%M} UTC" in words
    assert words[words.index("Option --embedding-dim") + 1] == "4, 2"
    assert words[words.index("Option --seed") + 1] == "0, 1"
    assert "Option --model" not in words


def test_fields_are_sorted_by_importance(
    reports: dict[int, tuple[dict[str, Any], str]],
) -> None:
    first, second = figures(reports[2][1])["chart-importance-0"]["data"]
    assert sorted(first["y"]) == sorted(
        [f"I{i}" for i in range(1, 14)] + [f"C{i}" for i in range(1, 27)]
    )
    both = [a + b for a, b in zip(first["x"], second["x"], strict=True)]
    assert both == pytest.approx(sorted(both, reverse=True))


@pytest.mark.parametrize("number", [1, 2])
def test_a_page_needs_nothing_else(
    reports: dict[int, tuple[dict[str, Any], str]], number: int
) -> None:
    text = reports[number][1]
    page = Page(text)
    assert not {"iframe", "object", "embed", "img", "base"} & {t for t, _ in page.tags}
    assert [attrs for tag, attrs in page.tags if tag == "script"] == [
        {"type": "application/json", "id": "figures"},
        {"type": "text/plain", "id": "library"},
        {},
    ]
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    for attribute in ("href", "src", "xlink:href"):
        for value in page.values(attribute):
            assert value == "data:," or value[1:] in ids
    shown = without_scripts(text)
    assert "@import" not in shown
    assert "url(" not in shown
    assert "://" not in shown
    assert len(text) < 2_500_000
    assert text.startswith('<!DOCTYPE html>\n<html lang="en">')
    assert (
        "meta",
        {"name": "viewport", "content": "width=device-width, initial-scale=1"},
    ) in page.tags


def test_names_are_text(reports: dict[int, tuple[dict[str, Any], str]]) -> None:
    page = Page(reports[2][1])
    assert NASTY in page.words
    assert not any("onerror" in attrs for _, attrs in page.tags)
    assert not any(tag == "img" for tag, _ in page.tags)


def test_equal_runs_give_equal_pages(
    reports: dict[int, tuple[dict[str, Any], str]], runs: list[Path], tmp_path: Path
) -> None:
    write_report(runs, tmp_path / "again.html", quiet=True)
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == reports[2][1]


def test_runs_on_other_data_are_not_paired(runs: list[Path], tmp_path: Path) -> None:
    raw = write_raw(tmp_path / "raw.txt", raw_lines(2000, seed=7))
    prepare(raw, tmp_path / "data", min_count=3)
    fit(tmp_path / "data", tmp_path / "plain")
    page_written = write_report(
        [runs[1], tmp_path / "plain"], tmp_path / "r.html", split="test", quiet=True
    )
    assert page_written.runs[1].difference is None
    page = Page((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "on another data set, whose rows are not the same" in page.words
    assert str(tmp_path / "data") in page.words
    assert str(tmp_path / "plain") in page.words  # two folders of one name go by their paths
    assert len(set(page.values("id"))) == len(page.values("id"))


def test_every_run_is_looked_for_before_the_first_is_evaluated(
    runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def evaluated(*_: Any, **__: Any) -> None:
        raise AssertionError

    monkeypatch.setattr("criteo_stream.report.facts.opened_split", evaluated)
    with pytest.raises(RunError, match="nowhere does not exist"):
        write_report([*runs, tmp_path / "nowhere"], tmp_path / "r.html", quiet=True)


def test_what_cannot_be_reported_is_refused(runs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder: name a file"):
        write_report(runs, tmp_path, quiet=True)
    with pytest.raises(UsageError, match=r"report\.pdf must end in \.html"):
        write_report(runs, tmp_path / "report.pdf", quiet=True)
    with pytest.raises(UsageError, match="no run to report on"):
        write_report([], tmp_path / "r.html")
    with pytest.raises(UsageError, match="--split all"):
        write_report(runs, tmp_path / "r.html", split="all", quiet=True)
    with pytest.raises(RunError, match="is not a run"):
        write_report([*runs, tmp_path], tmp_path / "r.html", quiet=True)
    moved = shutil.copytree(runs[1], tmp_path / "moved", symlinks=True)
    config = moved / "config.toml"
    config.write_text(config.read_text().replace('/data"', '/gone"'))
    with pytest.raises(DataSetError, match="--data"):
        write_report([moved], tmp_path / "r.html", quiet=True)
    assert not (tmp_path / "r.html").exists()


def test_column_shares_are_those_of_the_shards(data: Path) -> None:
    manifest = Manifest.read(data)
    integers, categories = column_facts(data, manifest, CriteoDataset(data, "valid"))
    train, valid = (pl.read_parquet(data / split / "*.parquet") for split in ("train", "valid"))
    for i in integers:
        assert i.missing == pytest.approx(train[i.column].is_nan().mean())
        assert i.split_missing == pytest.approx(valid[i.column].is_nan().mean())
        # Equal values have equal quantiles.
        counts = train[i.column].drop_nans().value_counts(sort=True)["count"] / len(train)
        assert (i.top, i.top_five) == pytest.approx((counts[0], counts[:5].sum()))
        assert (i.curve[0][1], i.curve[-1][1]) == (i.minimum, i.maximum)
    for c in categories:
        assert c.missing == pytest.approx((train[c.column] == 1).mean())
        assert c.split_missing == pytest.approx((valid[c.column] == 1).mean())
        assert c.oov == pytest.approx((train[c.column] == 0).mean())
        assert c.split_oov == pytest.approx((valid[c.column] == 0).mean())
        assert c.known == train[c.column].max() - 1
        assert c.top == pytest.approx((train[c.column] == 2).mean())
        assert c.top_five == pytest.approx(train[c.column].is_between(2, 6).mean())


def test_a_curve_has_the_value_of_every_quantile() -> None:
    values = np.sort(np.random.default_rng(0).geometric(0.2, 1000))
    distinct, counts = np.unique(values, return_counts=True)
    up_to = np.cumsum(counts)
    curve = quantile_curve(QuantileTable(distinct, up_to - counts, up_to))
    expected = np.quantile(values, [q for q, _ in curve], method="inverted_cdf")
    assert [value for _, value in curve] == expected.tolist()
    assert quantile_curve(QuantileTable(*(np.empty(0, np.int64),) * 3)) == []


def sample(rows: int = 200) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x_num = torch.rand(rows, 13, generator=generator)
    x_num[torch.rand(rows, 13, generator=generator) < 0.2] = torch.nan
    return x_num, torch.randint(0, 9, (rows, 26), generator=generator, dtype=torch.int32)


@pytest.mark.parametrize("numeric", ["value", "bins", "both"])
def test_parts_of_an_fm_add_up_to_its_logit(numeric: str) -> None:
    model = FM(13, [9] * 26, 4, numeric=numeric, bins=5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    alone, pairs = fm_parts(model, *sample())
    assert alone.shape == pairs.shape == (200, 39)
    logits = model.bias + alone.sum(1) + pairs.sum(1) / 2
    torch.testing.assert_close(logits, model(*sample()), rtol=1e-4, atol=1e-4)
    found = importance(model, *sample())
    torch.testing.assert_close(found.linear, alone.double().abs().mean(0))
    torch.testing.assert_close(found.interaction, pairs.double().abs().mean(0))


class TwoColumns(nn.Module):
    """Looks at I3 and C5 only."""

    def forward(self, x_num: torch.Tensor, x_cat: torch.Tensor) -> torch.Tensor:
        return 2 * x_num[:, 2].nan_to_num(0.5) + (x_cat[:, 4] == 3)


def test_importance_of_any_model_is_that_of_the_columns_it_uses() -> None:
    x_num, x_cat = sample()
    before = x_num.clone(), x_cat.clone()
    found = importance(TwoColumns(), x_num, x_cat)
    assert found.linear is found.interaction is None
    assert found.shuffled.nonzero().flatten().tolist() == [2, 13 + 4]
    assert torch.equal(x_num.nan_to_num(-1), before[0].nan_to_num(-1))
    assert torch.equal(x_cat, before[1])
    # Two independent draws of a uniform number are ⅓ apart on average, less where missing.
    assert 0.35 < float(found.shuffled[2]) < 0.67

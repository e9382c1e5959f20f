"""The command line as a user meets it: real processes, their output and exit codes."""

import getpass
import gzip
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from criteo_stream import Trainer
from criteo_stream.base.options import declared
from criteo_stream.cli.examples import EXAMPLES
from criteo_stream.data.folder import MANIFEST_NAME
from criteo_stream.predict.evaluate import evaluate_run
from criteo_stream.predict.restore import load_run
from criteo_stream.predict.scorer import Scorer
from criteo_stream.prepare.apply_fit import load_encoder
from criteo_stream.runs.config import TrainConfig
from criteo_stream.runs.execution import Execution
from criteo_stream.runs.folder import RunFolder
from tests.support import processes
from tests.support.paths import real_rows
from tests.support.raw_lines import parse, raw_lines, with_field, write_raw

PROGRAM = Path(sys.executable).parent / "criteo-stream"
COMMANDS = tuple(name for name in EXAMPLES if name)


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return processes.run([*map(str, arguments)], {"COLUMNS": "120"})


def run_program(*program: str | Path) -> subprocess.CompletedProcess[str]:
    """As it is installed, with the time that it takes to load."""
    return subprocess.run(
        [*map(str, program)], capture_output=True, text=True, check=False, timeout=120
    )


def last_json(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(figures, dict)
    return figures


def assert_refused(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """One sentence on stderr beside progress, with the words and no traceback."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr
    for word in words:
        assert word in errors[0]


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_raw(tmp_path_factory.mktemp("raw") / "train.txt", raw_lines(3000))


@pytest.fixture(scope="module")
def data(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sets") / "data"
    figures = last_json(run("preprocess", raw, "--out", out, "--min-count", 3, "--json"))
    assert figures["rows"]["read"] == 3000
    return out


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    figures = last_json(run("train", data, "--out", folder, "--batch-size", 256, "--json"))
    assert figures["finished"]
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_help_tells_of_defaults_and_loads_neither_torch_nor_polars(command: str) -> None:
    code = (
        "import sys\n"
        "from criteo_stream.cli import main\n"
        "try:\n"
        f"    main(['{command}', '--help'])\n"
        "except SystemExit as end:\n"
        "    assert not end.code\n"
        "assert not {'torch', 'polars', 'numpy', 'pyarrow'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "--json" in done.stdout
    assert command in done.stdout
    if command != "inspect":
        assert "[default: " in done.stdout
    assert "Examples:\n   criteo-stream" in done.stdout
    assert "\x1b" not in done.stdout


def test_version_and_module() -> None:
    version = run_program(PROGRAM, "--version").stdout
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", version)
    assert run_program(sys.executable, "-m", "criteo_stream", "--version").stdout == version


def test_print_config_is_a_config_that_works(data: Path, tmp_path: Path) -> None:
    printed = run("train", "--print-config")
    assert tomllib.loads(printed.stdout)["train"] == {
        name: value for name, value in TrainConfig().to_dict().items() if value is not None
    }
    for name in TrainConfig.__dataclass_fields__:
        assert re.search(rf"\n# .+\n(# )?{name} =", printed.stdout), name
    file = tmp_path / "my.toml"
    file.write_text(
        printed.stdout.replace("# epochs =", "epochs = 1").replace("# bins =", "bins = 8")
    )
    command = ["train", data, "--out", tmp_path / "run", "--config", file]
    figures = last_json(run(*command, "--evaluate-every", "1k", "--json"))
    record = RunFolder(tmp_path / "run").read().config
    assert (record.bins, record.epochs, record.evaluate_every) == (8, 1, 1000)
    assert figures["rows"] > 1000
    file.write_text("[train]\nbin = 3\n")
    assert_refused(run(*command), 2, "unknown option bin: did you mean bins?")


def test_verbose_shows_where_an_error_came_from(tmp_path: Path) -> None:
    done = run("-v", "inspect", tmp_path / "none")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ")


@pytest.mark.slow
def test_nothing_is_written_elsewhere(tmp_path: Path) -> None:
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    done = subprocess.run(
        [PROGRAM, "demo", "--out", "out", "--rows", "5k", "--quiet"],
        cwd=work,
        env={**os.environ, "HOME": str(home), "OMP_NUM_THREADS": "1", "TMPDIR": str(home)},
        check=False,
    )
    assert done.returncode == 0
    assert [path.name for path in work.iterdir()] == ["out"]
    # torch makes an empty folder for its compiler's temporary files.
    assert [path.name for path in home.rglob("*")] in ([], [f"torchinductor_{getpass.getuser()}"])


def test_an_export_says_nothing_of_its_exporter(trained: Path, tmp_path: Path) -> None:
    done = run("export", trained, "--format", "onnx", "--out", tmp_path / "out")
    assert (done.returncode, done.stderr) == (0, "")


def test_keys_of_every_json(raw: Path, data: Path, trained: Path, tmp_path: Path) -> None:
    prepared = last_json(run("preprocess", raw, "--out", data, "--min-count", 3, "--json"))
    keys = {"rows", "seconds", "rows_per_second", "peak_memory_bytes", "stages", "resumed"}
    assert keys <= prepared.keys()
    assert prepared["rows"].keys() == {"train", "valid", "test", "rejected", "read"}
    again = last_json(run("train", data, "--out", trained, "--batch-size", 256, "--json"))
    keys = {"steps", "rows", "rows_per_second", "seconds", "peak_memory_bytes", "best"}
    assert keys | {"resumed_from"} <= again.keys()
    figures = {"auc", "log_loss", "ne", "calibration"}
    of_all_rows = {"valid_rows", "whole_auc", "whole_log_loss"}
    assert again["best"].keys() == {"epoch", "step"} | of_all_rows | figures
    evaluated = last_json(run("evaluate", trained, "--split", "valid", "--json"))
    figures |= {"rows", "positives", "auc_interval", "log_loss_interval", "calibration_curve"}
    assert evaluated.keys() == figures
    assert evaluated["auc"] == again["best"]["auc"]
    out = tmp_path / "p.parquet"
    predicted = last_json(run("predict", trained, raw, "--out", out, "--json"))
    assert {"rows", "rows_per_second"} <= predicted.keys()
    page = tmp_path / "r.html"
    reported = last_json(run("report", trained, "--out", page, "--json"))
    assert reported.keys() == {"out", "bytes", "split", "runs"}
    assert reported["runs"] == [{"run": str(trained), **evaluated, "difference": None}]
    assert page.stat().st_size == reported["bytes"]
    for path, kind in ((raw, "raw"), (data, "data"), (trained, "run")):
        assert last_json(run("inspect", path, "--json"))["kind"] == kind


def test_evaluate_tells_how_far_to_trust_it(data: Path, trained: Path, tmp_path: Path) -> None:
    last_json(
        run("train", data, "--out", tmp_path / "b", "--batch-size", 256, "--seed", 1, "--json")
    )
    told = run("evaluate", trained, "--against", tmp_path / "b", "--plots")
    pair = last_json(run("evaluate", trained, "--against", tmp_path / "b", "--json"))
    alone, other = (
        json.loads(json.dumps(evaluate_run(path, quiet=True).to_dict()))
        for path in (trained, tmp_path / "b")
    )
    against, difference = pair.pop("against"), pair.pop("difference")
    assert (pair, against) == (alone, {"run": str(tmp_path / "b"), **other})
    for figure in ("auc", "log_loss"):
        assert difference[figure] == pytest.approx(alone[figure] - other[figure], abs=1e-9)
        low, high = alone[f"{figure}_interval"]
        assert low < alone[figure] < high
        assert f"{alone[figure]:.6f} (95 %: {low:.6f} to {high:.6f})" in told.stdout
        low, high = difference[f"{figure}_interval"]
        assert f"{difference[figure]:+.6f} (95 %: {low:+.6f} to {high:+.6f})" in told.stdout
    assert sum(part["rows"] for part in alone["calibration_curve"]) == alone["rows"]
    for name in ("calibration-test.png", "roc-test.png"):
        assert (trained / "plots" / name).exists()


def test_predictions_are_the_model_s_in_input_order(
    raw: Path, trained: Path, tmp_path: Path
) -> None:
    lines = [*raw_lines(40, seed=5), with_field(20, b"ffffffff")]
    labelled = write_raw(tmp_path / "more.txt", lines)
    bare = write_raw(tmp_path / "bare.txt", [line.split(b"\t", 1)[1] for line in lines])
    last_json(run("predict", trained, labelled, "--out", tmp_path / "a.parquet", "--json"))
    last_json(run("predict", trained, bare, "--out", tmp_path / "b.csv", "--json"))
    first, second = pl.read_parquet(tmp_path / "a.parquet"), pl.read_csv(tmp_path / "b.csv")
    assert first.columns == ["row", "probability", "label"]
    assert first.dtypes == [pl.Int64, pl.Float32, pl.UInt8]
    assert second.columns == ["row", "probability"]
    assert first["row"].to_list() == second["row"].to_list() == list(range(41))
    assert first["label"].to_list() == [int(line[:1]) for line in lines]

    loaded = load_run(trained)
    scorer = Scorer(loaded.model, load_encoder(loaded.data, loaded.manifest))
    frame = parse(b"".join(line + b"\n" for line in lines)).frame
    expected = scorer.probabilities(*scorer.inputs(frame))
    assert first["probability"].to_list() == expected.tolist()
    assert second["probability"].to_list() == pytest.approx(expected.tolist(), abs=1e-6)
    assert scorer.inputs(frame)[1][40, 6] == 0  # C7 was never seen: OOV


def test_inspect_verify_names_a_damaged_file(raw: Path, tmp_path: Path) -> None:
    last_json(run("preprocess", raw, "--out", tmp_path / "data", "--json"))
    assert run("inspect", tmp_path / "data", "--verify").returncode == 0
    shard = next((tmp_path / "data" / "train").iterdir())
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    assert_refused(run("inspect", tmp_path / "data", "--verify"), 1, shard.name, "damaged")
    assert_refused(run("train", tmp_path / "data", "--out", tmp_path / "run"), 1, shard.name)


def test_demo_end_to_end(tmp_path: Path) -> None:
    figures = last_json(run("demo", "--out", tmp_path / "demo", "--rows", "20k", "--json"))
    assert figures["test"]["auc"] < figures["best_possible"]["auc"]
    assert Path(figures["plot"]).read_bytes().startswith(b"\x89PNG")
    assert figures["rows_per_second"].keys() == {
        "synthesise", "preprocess", "train", "evaluate", "predict",
    }  # fmt: skip
    assert_refused(run("demo", "--out", tmp_path / "demo", "--rows", "20k"), 1, "--force")
    assert_refused(run("demo", "--out", tmp_path, "--rows", "20k"), 1, "not empty")
    assert_refused(run("demo", "--out", tmp_path / "x", "--rows", "many"), 2, "many")


def test_wrong_input_is_one_clear_sentence(raw: Path, tmp_path: Path) -> None:
    def preprocess(path: Path, *options: str) -> subprocess.CompletedProcess[str]:
        return run("preprocess", path, "--out", tmp_path / "out", *options)

    assert_refused(preprocess(tmp_path / "none.txt"), 1, "no such input", "none.txt")
    empty = write_raw(tmp_path / "empty.txt", [])
    assert_refused(preprocess(empty), 1, "empty.txt", "empty")
    text = write_raw(tmp_path / "text.txt", [b"a,b,c", b"1,2,3"])
    assert_refused(preprocess(text), 1, "not a Criteo click log", "text.txt")
    bare = write_raw(tmp_path / "bare.txt", [x.split(b"\t", 1)[1] for x in raw_lines(5)])
    assert_refused(preprocess(bare), 1, "no label column", "predict")
    wide = write_raw(tmp_path / "wide.txt", [line + b"\tx\ty" for line in raw_lines(5)])
    assert_refused(preprocess(wide), 1, "line 1: 42 fields instead of 40")
    cut = tmp_path / "cut.txt.gz"
    cut.write_bytes(gzip.compress(raw.read_bytes())[:-100])
    assert_refused(preprocess(cut), 1, "cut.txt.gz", "cut short")
    bad = write_raw(tmp_path / "bad.txt", [*raw_lines(20), with_field(5, b"1.5")])
    assert_refused(preprocess(bad, "--restart"), 1, "bad.txt, line 21", "I5", "1.5")


def test_wrong_folders_are_one_clear_sentence(raw: Path, data: Path, tmp_path: Path) -> None:
    assert_refused(run("preprocess", raw, "--out", raw.parent), 2, "holds the input")
    assert_refused(run("preprocess", raw, "--out", data.parent), 1, "not empty")
    other = tmp_path / "other"
    last_json(run("preprocess", raw, "--out", other, "--min-count", 7, "--json"))
    last_json(run("train", other, "--out", tmp_path / "run", "--batch-size", 512, "--json"))
    assert_refused(
        run("train", data, "--out", tmp_path / "run", "--batch-size", 512), 1, "another data set"
    )
    assert_refused(run("train", raw.parent, "--out", tmp_path / "x"), 1, "not a complete data set")
    assert_refused(run("evaluate", data), 1, "not a run")
    manifest = other / MANIFEST_NAME
    manifest.write_text(manifest.read_text().replace('"format": 2', '"format": 99'))
    assert_refused(run("inspect", other), 1, "format version 99")
    ones = write_raw(tmp_path / "ones.txt", [with_field(0, b"1", x) for x in raw_lines(300)])
    last_json(run("preprocess", ones, "--out", tmp_path / "ones", "--json"))
    assert_refused(run("train", tmp_path / "ones", "--out", tmp_path / "y"), 1, "labels", "are 1")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("preprocess", "x", "--out", "y", "--memory", "lots"), "lots"),
        (("preprocess", "x", "--out", "y", "--split", "half"), "half"),
        (("preprocess", "x", "--out", "y", "--min-count", "0"), "--min-count"),
        (("preprocess", "x", "--out", "y", "--valid", "0.6", "--test", "0.6"), "nothing to train"),
        (("train", "x", "--out", "y", "--numeric", "log"), "log"),
        (("train", "x", "--out", "y", "--batch-size", "0"), "--batch-size"),
        (("train", "x", "--out", "y", "--config", "none.toml"), "none.toml"),
        (("evaluate", "x", "--split", "every"), "every"),
        (("evaluate", "x", "--split", "tets"), "did you mean test?"),
        (("train", "x", "--out", "y", "--model", "FN"), "did you mean fm?"),
        (("train", "x", "--out", "y", "--epoch", "1"), "no such option --epoch: did you mean --e"),
        (("trian", "x"), "no such command trian: did you mean train?"),
        (("--versoin",), "did you mean --version?"),
        (("zzz",), "no such command zzz: see criteo-stream --help"),
        (("train", "x"), "--out is missing: see criteo-stream train --help"),
        (("train", "--out", "y"), "DATA is missing"),
        (("train", "x", "more", "--out", "y"), "unexpected argument more"),
        (("train", "x", "--out"), "--out requires an argument"),
        (("train", "x", "--out", "y", "--epochs", "two"), "--epochs is 'two', expected a whole"),
        (("train", "x", "--out", "y", "--lr", "high"), "--learning-rate is 'high', expected a num"),
        (("train", "x", "--out", "y", "--evaluate-every", "2x"), "--evaluate-every: '2x' is not"),
        (("preprocess", "x", "--out", "y", "--valid-files", "a", "b"), "repeat the option"),
    ],
)
def test_wrong_usage_has_code_2(arguments: tuple[str, ...], word: str) -> None:
    assert_refused(run(*arguments), 2, word)


@pytest.mark.parametrize("name", ["criteo_kaggle_dev.tsv.gz", "criteo_1tb_day0_dev.tsv.gz"])
def test_real_rows_from_raw_to_predictions(name: str, tmp_path: Path) -> None:
    raw = real_rows(name)
    data, folder = tmp_path / "data", tmp_path / "run"
    prepared = last_json(run("preprocess", raw, "--out", data, "--json"))
    assert prepared["rows"]["rejected"] == 0
    last_json(run("train", data, "--out", folder, "--batch-size", 512, "--json"))
    figures = last_json(run("evaluate", folder, "--json"))
    assert figures["auc"] > (0.7 if "kaggle" in name else 0.4)
    predicted = last_json(run("predict", folder, raw, "--out", tmp_path / "p.parquet", "--json"))
    assert predicted["rows"] == prepared["rows"]["read"]
    table = pl.read_parquet(tmp_path / "p.parquet")
    with gzip.open(raw) as file:
        assert table["label"].to_list() == [int(line[:1]) for line in file]


def test_python_api_does_what_the_command_line_does(data: Path, trained: Path) -> None:
    trainer = Trainer(data, trained.parent / "api", load_run(trained).config, quiet=True)
    result = trainer.fit()
    ours, theirs = (load_run(path).model.state_dict() for path in (result.run, trained))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("program", [["-m", "criteo_stream"], ["--no-python", "criteo-stream"]])
def test_torchrun_leaves_every_option_to_the_program(program: list[str]) -> None:
    from torch.distributed.run import parse_args

    options = [*declared(TrainConfig).values(), *declared(Execution).values()]
    names = [name for option in options for name in (option.flag, option.also) if name]
    flags = [word for name in names for word in (name, "x")]
    arguments = ["train", "data", "--out", "run", "--config", "c", "--json", "--quiet", *flags]
    parsed = parse_args(["--nproc-per-node", "2", *program, *arguments])
    assert parsed.training_script_args == arguments

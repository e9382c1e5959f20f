"""Paths as people type them: a home, a colon, several values behind an option."""

import os
from pathlib import Path

import pytest

from criteo_stream import TrainConfig, Trainer, export_run, plot, preprocess, write_report
from criteo_stream.base.errors import UsageError
from criteo_stream.base.paths import user_path
from criteo_stream.report.inspection import inspect
from tests.support import processes
from tests.support.raw_lines import raw_lines, write_raw

TINY = TrainConfig(embedding_dim=2, bins=2, batch_size=64, epochs=1)


def test_user_path_knows_homes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert user_path("~/data") == user_path(Path("~/data")) == Path("/home/me/data")
    assert user_path("~") == Path("/home/me")
    assert user_path("a/~/b") == Path("a/~/b")
    assert user_path("./~") == Path("~")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="~nobody-here, whose home folder is not known"):
        user_path("~nobody-here/data")
    Path("~draft.txt").touch()
    assert user_path("~draft.txt") == Path("~draft.txt")


@pytest.mark.usefixtures("no_waiting_for_the_disk")
def test_a_colon_and_a_home_do_in_every_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From Python, with everything relative; the first letters of a URI are those of a name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    write_raw(Path("day:1.tsv"), raw_lines(400))
    preprocess("day:1.tsv", "data:v2", min_count=1, quiet=True)
    preprocess("~/day:1.tsv", "~/other:v2", fit_from="~/data:v2", quiet=True)
    trainer = Trainer("data:v2", "run:1", TINY, quiet=True)
    result = trainer.fit()
    assert trainer.evaluate("test", data="~/other:v2").rows == 400
    for name in ("p:1.parquet", "p:1.csv"):
        for _ in range(2):  # the second replaces the first
            assert trainer.predict("day:1.tsv", name).rows == 400
    assert trainer.predict("~/day:1.tsv", "~/home.csv").rows == 400
    assert Path("home.csv").read_bytes() == Path("p:1.csv").read_bytes()
    for form in ("safetensors", "torch"):
        assert export_run("~/run:1", form, f"~/export:{form}").bytes
    write_report([Path("run:1")], Path("report:1.html"), quiet=True)
    plot(result.history, "auc", "~/auc:1.png")
    for path in ("data:v2", "run:1", "~/day:1.tsv", "~/data:v2"):
        assert inspect(path, verify=True).lines
    assert "~" not in os.listdir()  # noqa: PTH208
    assert {"auc:1.png", "report:1.html", "export:torch"} <= set(os.listdir())  # noqa: PTH208


def test_every_path_of_a_command_may_begin_with_a_home(tmp_path: Path) -> None:
    write_raw(tmp_path / "log.tsv", raw_lines(400))
    write_raw(tmp_path / "valid.tsv", raw_lines(50))
    more = ["--valid-files=~/valid.tsv", "--min-count", "1"]
    for arguments in (
        ["preprocess", "~/log.tsv", "--out=~/data", *more],
        ["preprocess", "~/log.tsv", "--out=~/same", "--fit-from=~/data"],
        ["inspect", "~/same"],
    ):
        done = processes.run(arguments, {"HOME": str(tmp_path)})
        assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"log.tsv", "valid.tsv", "data", "same"}
    done = processes.run(["inspect", "~nobody-here/x"], {"HOME": str(tmp_path)})
    assert done.returncode == 2
    assert "whose home folder is not known" in done.stderr


@pytest.mark.parametrize("option", ["--valid-files", "--test-files"])
def test_two_words_behind_a_list_option_are_refused(tmp_path: Path, option: str) -> None:
    names = ["train.tsv", "a.tsv", "b.tsv"]
    train, a, b = (str(write_raw(tmp_path / name, raw_lines(200))) for name in names)

    def run(*arguments: str) -> tuple[int, str]:
        out = str(tmp_path / f"out-{len(list(tmp_path.iterdir()))}")
        done = processes.run(["preprocess", "--out", out, *arguments], {})
        return done.returncode, done.stderr

    for arguments in ([train, option, a, b], [option, a, train], [train, option, a, "-"]):
        code, err = run(*arguments)
        assert code == 2
        assert f"{arguments[-1]} follows {option} {a}: repeat the option" in err
    split = option[2:7].removesuffix("-")
    for arguments in (
        [train, option, a, option, b],
        [option, a, option, b, "--", train],
        [f"{option}={a}", train, option, b],
        [train, option, str(tmp_path / "[ab].tsv")],
    ):
        code, err = run(*arguments)
        assert code == 0, err
        assert f"train: {train}; " in err
        assert f"{split}: {a}, {b}" in err


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no folder where nobody can write")
def test_the_words_of_the_system_come_without_its_number(tmp_path: Path) -> None:
    raw = write_raw(tmp_path / "log.tsv", raw_lines(20))
    done = processes.run(["preprocess", str(raw), "--out", "/proc/set"], {})
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1] == "error: /proc/set: No such file or directory"

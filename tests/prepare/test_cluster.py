"""The same bytes whoever does the work: threads of this process, or the workers of a cluster."""

import gzip
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from criteo_stream.base.errors import InputError, OutputError
from criteo_stream.data.folder import DataFolder
from criteo_stream.prepare import stages, tasks
from tests.support.data_sets import content, prepare
from tests.support.raw_lines import raw_lines, write_raw
from tests.support.stopped_preparation import StoppedError

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")

HOST = socket.gethostname()
BLOCKS: dict[str, Any] = {"block_rows": 150, "min_count": 2, "max_bad_rows": 8}
ROOMY: dict[str, Any] = {"memory": "5GB"}
"""Enough for eight streams."""
SPLITS: dict[str, dict[str, Any]] = {
    "random": {"seed": 3, "valid": 0.2},
    "thinned": {"seed": 3, "keep_negatives": 0.4},
    "tail": {"split": "tail", "valid": 0.15, "test": 0.15},
    "terabyte": {"split": "terabyte"},
    "valid-files": {"valid_files": ("day_1.gz",), "test_files": ("day_3.gz",)},
}
STAGES: dict[str, Any] = {
    "count": tasks.count_source,
    "read": tasks.read_source,
    "fit": tasks.fit_column,
    "encode": tasks.encode_block,
}
BAD_LINES = (17, 305)
"""Of every input, counted from 1."""


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four days of several blocks, two of them compressed, with two malformed lines each."""
    folder = tmp_path_factory.mktemp("raw")
    for day, rows in enumerate((400, 480, 330, 620)):
        lines = raw_lines(rows, seed=day)
        for number in BAD_LINES:
            lines[number - 1] = b"nonsense"
        path = write_raw(folder / f"day_{day}", lines)
        if day % 2:
            path.with_suffix(".gz").write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()
    return folder


def options_of(split: str, raw: Path) -> dict[str, Any]:
    found = {**BLOCKS, **SPLITS[split]}
    for name in ("valid_files", "test_files"):
        if name in found:
            found[name] = tuple(str(raw / file) for file in found[name])
    return found


@pytest.fixture(scope="module")
def expected(
    raw: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], dict[str, Any]]:
    """What one thread makes."""
    known: dict[str, dict[str, Any]] = {}

    def find(split: str) -> dict[str, Any]:
        if split not in known:
            out = tmp_path_factory.mktemp(split) / "data"
            prepare(raw, out, workers=1, **options_of(split, raw))
            known[split] = content(out)
        return known[split]

    return find


def cluster_of(workers: int, folder: Path) -> Iterator[str]:
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=workers,
        processes=True,
        threads_per_worker=2,
        dashboard_address=":0",  # with None it is always the same port
        local_directory=str(folder),
    ) as cluster:
        yield cluster.scheduler_address


@pytest.fixture(scope="module")
def cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Address of a cluster of two worker processes, or of as many as a test asks for."""
    yield from cluster_of(getattr(request, "param", 2), tmp_path_factory.mktemp("dask"))


@pytest.mark.parametrize("split", SPLITS)
def test_eight_threads_make_what_one_makes(
    split: str, raw: Path, expected: Callable[[str], dict[str, Any]], tmp_path: Path
) -> None:
    prepare(raw, tmp_path / "data", workers=8, **ROOMY, **options_of(split, raw))
    assert content(tmp_path / "data") == expected(split)


@pytest.mark.parametrize(
    ("cluster", "split"),
    [
        *((2, split) for split in SPLITS),
        (1, "tail"),
        (4, "random"),
        *(
            pytest.param(1, split, marks=pytest.mark.slow)
            for split in sorted(set(SPLITS) - {"tail"})
        ),
        *(
            pytest.param(4, split, marks=pytest.mark.slow)
            for split in sorted(set(SPLITS) - {"random"})
        ),
    ],
    indirect=["cluster"],
)
def test_workers_of_a_cluster_make_what_one_thread_makes(
    split: str,
    cluster: str,
    raw: Path,
    expected: Callable[[str], dict[str, Any]],
    tmp_path: Path,
) -> None:
    out = tmp_path / "data"
    result = prepare(raw, out, cluster=cluster, **ROOMY, **options_of(split, raw))
    assert content(out) == expected(split)
    assert result.manifest.rejected is not None


def test_a_cluster_extends_a_fit_as_one_thread_does(
    cluster: str, raw: Path, tmp_path: Path
) -> None:
    prepare(raw / "day_0", tmp_path / "first", **BLOCKS)
    extending = {**BLOCKS, "extend": tmp_path / "first"}
    prepare(raw / "day_2", tmp_path / "threads", **extending)
    prepare(raw / "day_2", tmp_path / "cluster", cluster=cluster, **extending)
    assert content(tmp_path / "cluster") == content(tmp_path / "threads")


def stopping_in(stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop as if the process had ended when the first task of a stage is done."""
    real = stages.run_tasks

    def run(executor: Any, task: Any, plan: Path, numbers: Any, **others: Any) -> None:
        if task is STAGES[stage]:

            def stop(_: int) -> None:
                raise StoppedError

            others["done"] = stop
        real(executor, task, plan, numbers, **others)

    monkeypatch.setattr(stages, "run_tasks", run)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("first", ["threads", "cluster"])
def test_what_threads_began_a_cluster_finishes_and_the_reverse(
    first: str,
    stage: str,
    cluster: str,
    raw: Path,
    expected: Callable[[str], dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "data"
    tries: list[dict[str, Any]] = [{"workers": 1}, {"cluster": cluster}]
    if first == "cluster":
        tries.reverse()
    with monkeypatch.context() as patch:
        stopping_in(stage, patch)
        with pytest.raises(StoppedError):
            prepare(raw, out, **tries[0], **options_of("tail", raw))
    assert not DataFolder(out).manifest.exists()
    assert not list((DataFolder(out).work / "plans").iterdir())
    assert not (out / ".criteo-stream-owner.json").exists()
    result = prepare(raw, out, **tries[1], **options_of("tail", raw))
    assert result.resumed == (stage != "count")
    assert content(out) == expected("tail")


@pytest.mark.parametrize("at", ["threads", "cluster"])
def test_too_many_malformed_lines_over_all_inputs(
    at: str, cluster: str, raw: Path, expected: Callable[[str], dict[str, Any]], tmp_path: Path
) -> None:
    out = tmp_path / "data"
    where = {"cluster": cluster} if at == "cluster" else {"workers": 2}
    options = options_of("random", raw)
    with pytest.raises(InputError) as error:
        prepare(raw, out, **where, **{**options, "max_bad_rows": 7})
    assert str(error.value) == (
        f"{raw / 'day_0'}, line 17: 1 field instead of 40 (8 malformed lines so far, "
        "--max-bad-rows is 7): mend the line, or allow more and run the same again"
    )
    prepare(raw, out, **where, **options)
    assert content(out) == expected("random")


def test_no_malformed_line_is_allowed(cluster: str, raw: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"day_\d.*, line 17: .*--max-bad-rows is 0\)"):
        prepare(raw, tmp_path / "data", cluster=cluster, **BLOCKS | {"max_bad_rows": 0})


def test_a_damaged_input_is_told_with_the_host(
    cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Damaged behind what the driver reads to know the layout."""
    text = b"".join(line + b"\n" for line in raw_lines(2000)) * 25
    assert len(text) > 9 << 20
    whole = gzip.compress(text, 1)
    path = tmp_path / "day.gz"
    path.write_bytes(whole[:-5])
    out = tmp_path / "data"
    options: dict[str, Any] = {"block_rows": 20_000, "min_count": 2}
    with pytest.raises(InputError) as error:
        prepare(path, out, cluster=cluster, **options)
    assert str(error.value).startswith(f"{path} is damaged or cut short (")
    assert str(error.value).endswith(f"; what was read before it is kept (on {HOST})")
    path.write_bytes(whole)
    prepare(path, out, cluster=cluster, **options)
    prepare(path, tmp_path / "other", **options)
    assert content(out) == content(tmp_path / "other")


def before_tasks(monkeypatch: pytest.MonkeyPatch, act: Callable[[Path], Path]) -> None:
    """Do something with the plan when its tasks are about to run."""
    real = stages.run_tasks

    def run(executor: Any, task: Any, plan: Path, numbers: Any, **others: Any) -> None:
        real(executor, task, act(plan), numbers, **others)

    monkeypatch.setattr(stages, "run_tasks", run)


def test_an_input_that_workers_do_not_see(
    cluster: str, raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = write_raw(tmp_path / "day", raw_lines(100))

    def hide(plan: Path) -> Path:
        own.unlink()
        return plan

    before_tasks(monkeypatch, hide)
    with pytest.raises(InputError) as error:
        prepare(own, tmp_path / "data", cluster=cluster, **BLOCKS)
    assert str(error.value) == f"no such input: {own} (on {HOST})"


def test_a_folder_that_workers_do_not_see(
    cluster: str, raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before_tasks(monkeypatch, lambda plan: tmp_path / "elsewhere" / "plans" / plan.name)
    with pytest.raises(OutputError) as error:
        prepare(raw, tmp_path / "data", cluster=cluster, **BLOCKS)
    assert str(error.value) == (
        f"{HOST} has no {tmp_path / 'elsewhere' / 'plans'}: the data set's folder must be on "
        "storage that all hosts share, under one path"
    )

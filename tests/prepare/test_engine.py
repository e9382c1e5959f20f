"""Running a stage's tasks: the first error by number, the rest cancelled, nothing kept alive."""

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from criteo_stream.base.errors import InputError, OutputError
from criteo_stream.prepare import engine
from criteo_stream.prepare.engine import Engine, local_engine, run_tasks
from criteo_stream.prepare.memory_budget import MemoryBudget
from criteo_stream.prepare.read_watch import TooManyRejectsError
from criteo_stream.prepare.stage_plan import StoppedError, check_wanted
from criteo_stream.raw.malformed import Reject


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "plan.json"
    path.touch()
    return path


@pytest.fixture(params=[1, 4])
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    with ThreadPoolExecutor(request.param) as found:
        yield found


@pytest.fixture
def four() -> Iterator[Executor]:
    with ThreadPoolExecutor(4) as found:
        yield found


def test_every_task_is_run_and_told_of_once(executor: Executor, plan: Path) -> None:
    ran: list[tuple[str, int]] = []
    done: list[int] = []
    looks = 0

    def look() -> None:
        nonlocal looks
        looks += 1

    def task(where: str, number: int) -> None:
        ran.append((where, number))

    run_tasks(executor, task, plan, range(100), done=done.append, meanwhile=look)
    assert sorted(ran) == [(str(plan), number) for number in range(100)]
    assert sorted(done) == list(range(100))
    assert looks >= 1
    assert plan.exists()


def test_those_in_front_begin_first(plan: Path) -> None:
    ran: list[int] = []
    with ThreadPoolExecutor(1) as one:
        run_tasks(one, lambda _, number: ran.append(number), plan, [3, 1, 2])
    assert ran == [3, 1, 2]


def test_without_tasks_it_looks_once(executor: Executor, plan: Path) -> None:
    looks: list[None] = []
    run_tasks(executor, lambda *_: None, plan, [], meanwhile=lambda: looks.append(None))
    assert looks == [None]


def test_it_looks_while_nothing_ends(
    four: Executor, plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_POLL_SECONDS", 0.01)
    enough = threading.Event()
    looks: list[None] = []

    def look() -> None:
        looks.append(None)
        if len(looks) == 5:
            enough.set()

    run_tasks(four, lambda *_: assert_set(enough), plan, [0], meanwhile=look)


def assert_set(event: threading.Event) -> None:
    assert event.wait(60)


def test_a_failure_removes_the_plan_and_cancels_the_rest(plan: Path) -> None:
    ran: list[int] = []

    def task(_: str, number: int) -> None:
        ran.append(number)
        if number == 0:
            raise InputError("input 0")
        time.sleep(0.01)

    with ThreadPoolExecutor(1) as one, pytest.raises(InputError, match="input 0"):
        run_tasks(one, task, plan, range(1000))
    assert len(ran) < 1000
    assert not plan.exists()


@pytest.mark.parametrize("earlier", [InputError("earlier"), OutputError("earlier")])
def test_the_first_error_by_number_is_told(four: Executor, plan: Path, earlier: Exception) -> None:
    """Though it came later than others; those that only stopped do not count."""
    failed = threading.Event()

    def task(where: str, number: int) -> None:
        if number == 2:
            failed.set()
            raise InputError("later")
        assert failed.wait(60)
        while Path(where).exists():
            time.sleep(0.001)
        if number == 0:
            check_wanted(Path(where))
        raise earlier

    with pytest.raises(type(earlier), match="earlier"):
        run_tasks(four, task, plan, range(3))


def test_a_stop_by_itself_is_told_as_one(four: Executor, plan: Path) -> None:
    def task(where: str, number: int) -> None:
        plan.unlink(missing_ok=True)
        check_wanted(Path(where))

    with pytest.raises(StoppedError):
        run_tasks(four, task, plan, range(5))


def test_an_error_of_ours_comes_before_an_error_for_a_user(four: Executor, plan: Path) -> None:
    def task(where: str, number: int) -> None:
        if number == 1:
            raise ZeroDivisionError
        while Path(where).exists():
            time.sleep(0.001)
        raise InputError("of a user")

    with pytest.raises(ZeroDivisionError):
        run_tasks(four, task, plan, range(2))


def rejects(source: int, line: int) -> TooManyRejectsError:
    first = Reject(file=f"day_{source}", line=line, reason="it is bad", text="")
    return TooManyRejectsError(source, first, 8, 7)


@pytest.mark.parametrize("seen", [0, 2])
def test_malformed_lines_that_the_driver_counted_are_placed_by_their_input(
    four: Executor, plan: Path, seen: int
) -> None:
    running = threading.Event()

    def task(where: str, number: int) -> None:
        running.set()
        while Path(where).exists():
            time.sleep(0.001)
        raise InputError("of input 1")

    def look() -> None:
        assert running.wait(60)
        raise rejects(seen, 17)

    with pytest.raises(InputError, match="day_0, line 17" if seen == 0 else "of input 1"):
        run_tasks(four, task, plan, [1], meanwhile=look)


@pytest.mark.parametrize("where", ["done", "meanwhile"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, OutputError])
def test_an_error_of_the_driver_itself_stops_the_tasks(
    four: Executor, plan: Path, where: str, error: type[BaseException]
) -> None:
    stopped: list[int] = []
    running = threading.Event()

    def task(path: str, number: int) -> None:
        if number:
            running.set()
            while Path(path).exists():
                time.sleep(0.001)
            stopped.append(number)

    def fail(*_: object) -> None:
        assert running.wait(60)
        raise error

    calls: dict[str, Callable[..., None]] = {where: fail}
    with pytest.raises(error):
        run_tasks(four, task, plan, range(3), **calls)
    assert 1 <= len(stopped) <= 2, "it did not wait for those that ran"


class Elsewhere(Executor):
    """Like that of a cluster: what runs may be cancelled, and is then never said to be done."""

    def __init__(self) -> None:
        self.futures: list[Future[None]] = []

    def submit(self, *_: object, **__: object) -> Future[None]:  # type: ignore[override]
        future: Future[None] = Future()
        if not self.futures:
            future.set_exception(InputError("the first"))
        self.futures.append(future)
        return future


def test_tasks_elsewhere_are_not_waited_for(plan: Path) -> None:
    executor = Elsewhere()
    began = time.monotonic()
    with pytest.raises(InputError, match="the first"):
        run_tasks(executor, lambda *_: None, plan, range(3))
    assert time.monotonic() - began < 10
    assert [future.cancelled() for future in executor.futures] == [False, True, True]


def test_a_lost_executor_is_told(plan: Path) -> None:
    executor = Elsewhere()
    executor.futures.append(Future())

    def lose() -> None:
        for future in executor.futures:
            if not future.done():
                future.cancel()

    with pytest.raises(CancelledError):
        run_tasks(executor, lambda *_: None, plan, range(3), meanwhile=lose)


class Open:
    """Stands for a file that a task has open."""


def test_an_error_keeps_nothing_open(four: Executor, plan: Path) -> None:
    opened: list[weakref.ref[Open]] = []
    together = threading.Barrier(4)

    def task(_: str, number: int) -> None:
        file = Open()
        opened.append(weakref.ref(file))
        together.wait(60)
        raise InputError(f"{number} with {file}")

    gc.collect()
    gc.disable()
    try:
        with pytest.raises(InputError, match="0 with") as error:
            run_tasks(four, task, plan, range(4))
        del error
        deadline = time.monotonic() + 10  # an executor's threads let go of the last task soon
        while any(file() for file in opened) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not [file for file in opened if file()]
    finally:
        gc.enable()


def test_the_local_engine_ends_its_threads() -> None:
    before = threading.active_count()
    with local_engine(MemoryBudget(total_bytes=5 * 10**9, workers=8)) as found:
        assert isinstance(found, Engine)
        assert not found.shared
        assert found.host
        assert found.host.pool.submit(int, 3).result() == 3
        assert found.host.writers.submit(int, 3).result() == 3
    assert threading.active_count() == before

"""The serving example, by a real client of a real uvicorn process."""

import json
import re
import shlex
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from criteo_stream import Predictor, __version__, load
from tests.support.data_sets import prepare
from tests.support.paths import REPOSITORY
from tests.support.raw_lines import VALID_LINE, raw_lines, unlabelled, write_raw
from tests.support.serving import EXAMPLE, Server, docker_instructions, serving, start_server
from tests.support.training import fit

LINES = [line.decode() for line in raw_lines(800, seed=9)]
LIMITS = {"CRITEO_MAX_ROWS": "300", "CRITEO_MAX_BYTES": "200000"}
GOOD: dict[str, Any] = {"I1": 3, "C1": "0a1b2c3d"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("serving")
    prepare(write_raw(folder / "log.tsv", raw_lines(900)), folder / "data", min_count=2)
    fit(folder / "data", folder / "run", learning_rate=0.05, epochs=2)
    return folder / "run"


@pytest.fixture(scope="module")
def asked(run: Path) -> Predictor:
    return load(run)


@pytest.fixture(scope="module")
def server(run: Path) -> Iterator[Server]:
    with serving(run, LIMITS) as found:
        yield found


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60) as found:
        yield found


def test_health_says_what_is_served(client: httpx.Client, asked: Predictor) -> None:
    assert client.get("/health").json() == {
        "status": "ok",
        "model": "fm",
        "step": asked.step,
        "data_fingerprint": asked.data_fingerprint,
        "fit_fingerprint": asked.fit_fingerprint,
        "package_version": __version__,
    }


def test_answers_are_those_of_predict_proba(client: httpx.Client, asked: Predictor) -> None:
    bare = [line.decode() for line in unlabelled([line.encode() for line in LINES[:9]])]
    for rows in ([], [GOOD, {}, {"I1": None, "C2": ""}], LINES[:1], LINES[:250], bare):
        found = client.post("/predict", json={"rows": rows})
        assert found.status_code == 200, found.text
        assert found.json() == {"probabilities": asked.predict_proba(rows).tolist()}


def test_many_clients_at_once(server: Server, asked: Predictor) -> None:
    parts = [LINES[i : i + size] for i, size in enumerate((1, 3, 40, 100, 250, 300) * 4)]
    wanted = [asked.predict_proba(part) for part in parts]

    def ask(number: int) -> None:
        with httpx.Client(base_url=server.url, timeout=60) as own:
            for _ in range(10):
                found = own.post("/predict", json={"rows": parts[number]})
                assert found.status_code == 200
                np.testing.assert_allclose(
                    found.json()["probabilities"], wanted[number], rtol=0, atol=1e-6
                )
                assert own.get("/health").status_code == 200

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(len(parts)))) == [None] * len(parts)


@pytest.mark.parametrize(
    ("rows", "place", "words"),
    [
        ([GOOD, {"I1": "3"}], ["body", "rows", 1, "row", "I1"], "valid integer"),
        ([GOOD, {"I1": 3.0}], ["body", "rows", 1, "row", "I1"], "valid integer"),
        ([{"I1": True}], ["body", "rows", 0, "row", "I1"], "valid integer"),
        ([{"I1": 2**31}], ["body", "rows", 0, "row", "I1"], "less than or equal"),
        ([{"C1": "68fd1e6"}], ["body", "rows", 0, "row", "C1"], "match pattern"),
        ([{"C1": "0a1b2c3d\n"}], ["body", "rows", 0, "row", "C1"], "match pattern"),
        ([{"C1": 5}], ["body", "rows", 0, "row", "C1"], "valid string"),
        ([{"C27": "0a1b2c3d"}], ["body", "rows", 0, "row", "C27"], "not permitted"),
        ([5], ["body", "rows", 0, "row"], "valid dictionary"),
        ("x", ["body", "rows"], "valid list"),
        ([{}] * 301, ["body", "rows"], "at most 300 items"),
        ([LINES[0], "1\t2"], ["body", "rows"], "row 1: 2 fields instead of 40"),
        ([LINES[0], GOOD], ["body", "rows"], "row 1 is of type dict, expected a line"),
        ([VALID_LINE.decode().replace("5", "x", 1)], ["body", "rows"], "row 0: I1 is 'x'"),
        (["\ud800" + LINES[0]], ["body", "rows"], "row 0: byte 1 is not valid UTF-8"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_malformed_gets_422_with_the_place(
    client: httpx.Client, rows: Any, place: list[Any], words: str
) -> None:
    found = client.post("/predict", content=json.dumps({"rows": rows}), headers=JSON)
    assert found.status_code == 422, found.text
    (error,) = found.json()["detail"]
    assert error["loc"] == place
    assert words in error["msg"]


JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (b"{", 422),
        (b"[]", 422),
        (b"{}", 422),
        (b'{"rows": [], "more": 1}', 422),
        (b'{"rows": [{"I1": NaN}]}', 422),
        (b'{"rows": [{"I1": Infinity}]}', 422),
        (b'{"rows": [{"\\ud800": 1}]}', 422),
        (b'{"rows": [{"' + b"x" * 100_000 + b'": 1}]}', 422),
        (b'{"rows": [' + b",".join([b'{"I1":"x","I2":"x","C1":5}'] * 300) + b"]}", 422),
        (b'{"rows": [{"I1": ' + b"9" * 5000 + b"}]}", 400),
        (b'{"rows": "\xff"}', 400),
        (b"[" * 100_000, 400),
        (b" " * 200_001, 413),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_body_that_is_no_batch_is_refused_shortly(
    client: httpx.Client, body: bytes, status: int
) -> None:
    found = client.post("/predict", content=body, headers=JSON)
    assert found.status_code == status, found.text
    assert found.json()["detail"]
    assert len(found.content) < 8000


def test_a_body_of_unknown_length_is_limited_too(client: httpx.Client) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(400):
            yield b" " * 1000

    found = client.post("/predict", content=endless(), headers=JSON)
    assert found.status_code == 413
    assert client.get("/health").status_code == 200


def test_sigterm_lets_a_request_end(run: Path) -> None:
    with serving(run) as own:
        body = json.dumps({"rows": LINES}).encode()
        head, answers = threading.Event(), []

        def slow() -> Iterator[bytes]:
            yield body[:1000]
            head.set()
            time.sleep(1)
            yield body[1000:]

        def ask() -> None:
            answers.append(httpx.post(f"{own.url}/predict", content=slow(), headers=JSON))

        thread = threading.Thread(target=ask)
        thread.start()
        head.wait()
        time.sleep(0.3)
        own.process.send_signal(signal.SIGTERM)
        thread.join()
        assert own.process.wait(60) in (0, -signal.SIGTERM)
        assert len(answers[0].json()["probabilities"]) == len(LINES)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"CRITEO_RUN": ""}, "error: set CRITEO_RUN to the folder of a run"),
        ({"CRITEO_RUN": "/nowhere"}, "error: /nowhere"),
        ({"CRITEO_DATA": "/nowhere"}, "error: /nowhere"),
        ({"CRITEO_MAX_ROWS": "many"}, "error: CRITEO_MAX_ROWS is 'many', expected a positive"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_wrong_setting_is_one_sentence(run: Path, settings: dict[str, str], words: str) -> None:
    process = start_server(run, settings)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said.startswith(words)
    assert said.count("\n") == 1


def test_what_the_dockerfile_copies_and_starts_exists(server: Server) -> None:
    """There is no Docker where tests run; `serving` starts what the image would start."""
    found = docker_instructions()
    assert found[0][0] == "FROM"
    copied = [word for name, rest in found if name == "COPY" for word in rest.split()[:-1]]
    assert {"criteo_stream", "pyproject.toml", "examples/serving/app.py"} <= set(copied)
    for path in copied:
        assert (REPOSITORY / path).exists(), path
    # What the package's build reads is copied before it is built.
    project = (REPOSITORY / "pyproject.toml").read_text()
    for name in re.findall(r'^(?:license-files|readme) = \[?"([^"]+)"', project, re.MULTILINE):
        assert name in copied
    assert re.search(r"^serve = \[", project, re.MULTILINE)
    (check,) = (json.loads(rest.removeprefix("CMD ")) for n, rest in found if n == "HEALTHCHECK")
    code = check[2].replace("http://127.0.0.1:8000", server.url)
    exec(compile(code, "healthcheck", "exec"), {})


def test_the_readme_shows_what_works(server: Server, asked: Predictor) -> None:
    text = (EXAMPLE / "README.md").read_text().replace("\\\n", " ")
    (line,) = re.findall(r"^curl localhost:8000/predict .*$", text, re.MULTILINE)
    words = shlex.split(line)
    assert words[2:4] == ["-H", "content-type: application/json"]
    found = httpx.post(f"{server.url}/predict", content=words[5], headers=JSON)
    rows = json.loads(words[5])["rows"]
    assert found.json() == {"probabilities": asked.predict_proba(rows).tolist()}

"""The place among ranks: torchrun's word counts, odd values of others are told or ignored."""

import pytest

from criteo_stream.base.errors import UsageError
from criteo_stream.base.torchrun_place import Place, is_writer, place

TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "none",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29500",
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
}
ALONE = Place(0, 1, 0, 1)


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in TORCHRUN:
        monkeypatch.delenv(name, raising=False)


def given(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    for name, value in values.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("any_launcher", [False, True])
def test_without_variables_it_is_alone(*, any_launcher: bool) -> None:
    assert place(any_launcher=any_launcher) == ALONE
    assert is_writer(any_launcher=any_launcher)


@pytest.mark.parametrize("any_launcher", [False, True])
def test_torchrun_is_heeded(monkeypatch: pytest.MonkeyPatch, *, any_launcher: bool) -> None:
    given(monkeypatch, **TORCHRUN)
    assert place(any_launcher=any_launcher) == Place(3, 4, 1, 2)
    assert not is_writer(any_launcher=any_launcher)


@pytest.mark.parametrize(
    "values",
    [
        {"WORLD_SIZE": "2", "RANK": "0"},
        {"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "host", "MASTER_PORT": "1"},
        {"RANK": "x"},
        {"WORLD_SIZE": "-1", "RANK": "7"},
    ],
)
def test_a_scheduler_s_variables_make_no_ranks(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, str]
) -> None:
    given(monkeypatch, **values)
    assert place() == ALONE


def test_other_launchers_of_a_training(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, WORLD_SIZE="2", RANK="1", MASTER_ADDR="host", MASTER_PORT="29500")
    assert place(any_launcher=True) == Place(1, 2, 0, 1)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"RANK": "x"}, r"RANK is 'x', expected an integer from 0 on.*unset RANK"),
        ({"RANK": ""}, r"RANK is '', expected"),
        ({"RANK": "-1"}, r"RANK is '-1'"),
        ({"RANK": "٣"}, r"RANK is '٣'"),
        ({"RANK": "1.0"}, r"RANK is '1.0'"),
        ({"RANK": "4"}, r"RANK is '4', expected below WORLD_SIZE, which is 4"),
        ({"WORLD_SIZE": "0"}, r"WORLD_SIZE is '0', expected an integer from 1 on"),
        ({"WORLD_SIZE": "two"}, r"WORLD_SIZE is 'two'"),
        ({"LOCAL_RANK": "-2"}, r"LOCAL_RANK is '-2'"),
        ({"LOCAL_WORLD_SIZE": "0"}, r"LOCAL_WORLD_SIZE is '0'"),
        ({"MASTER_PORT": "http"}, r"MASTER_PORT is 'http', expected an integer from 1 to 65535"),
        ({"MASTER_PORT": "65536"}, r"MASTER_PORT is '65536'"),
        ({"MASTER_PORT": ""}, r"MASTER_PORT is ''"),
        ({"MASTER_ADDR": ""}, r"WORLD_SIZE is 4 without a MASTER_ADDR.*start them by torchrun"),
    ],
)
def test_odd_values_are_one_sentence(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, str], words: str
) -> None:
    given(monkeypatch, **(TORCHRUN | values))
    with pytest.raises(UsageError, match=words):
        place()
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")
    with pytest.raises(UsageError, match=words):
        place(any_launcher=True)

"""Training options: what is refused, what open ones become, and that they are written once."""

from dataclasses import replace
from typing import Any, get_type_hints

import pytest

from criteo_stream.base.errors import UsageError
from criteo_stream.base.options import declared
from criteo_stream.prepare.options import PrepareOptions
from criteo_stream.runs.config import TrainConfig
from criteo_stream.runs.execution import Execution, ExecutionKeywords


@pytest.mark.parametrize(
    ("rows", "epochs", "batch_size", "learning_rate", "l2_embedding"),
    [
        (100, 3, 512, 0.01, 3.0),
        (76_800, 3, 512, 0.01, 0.0039),
        (1_600_000, 2, 4096, 0.0141, 0.00019),
        (2_999_999, 2, 8192, 0.02, 0.0001),
        (3_000_000, 1, 8192, 0.02, 0.0001),
        (4_195_197_692, 1, 8192, 0.02, 7.2e-08),
    ],
)
def test_open_options_go_by_the_training_rows(
    rows: int, epochs: int, batch_size: int, learning_rate: float, l2_embedding: float
) -> None:
    resolved = TrainConfig().resolved(rows)
    assert resolved.epochs == epochs
    assert resolved.batch_size == batch_size
    assert resolved.learning_rate == learning_rate
    assert resolved.l2_embedding == l2_embedding


def test_passes_go_by_all_rows_and_all_else_by_those_that_were_kept() -> None:
    thinned = TrainConfig().resolved(706_000, thinned=894_000)
    assert thinned == replace(TrainConfig().resolved(706_000), epochs=2)


@pytest.mark.parametrize(
    ("batch_size", "rows", "learning_rate"),
    [(65_536, 10**6, 0.0566), (65_536, 8192, 0.02), (2**63 - 1, 8192, 0.02), (10**6, 710, 0.01)],
)
def test_the_learning_rate_goes_by_the_rows_that_a_batch_has(
    batch_size: int, rows: int, learning_rate: float
) -> None:
    assert TrainConfig(batch_size=batch_size).resolved(rows).learning_rate == learning_rate


def test_bins_go_by_the_training_rows() -> None:
    assert [TrainConfig().resolved(rows).bins for rows in (199_999, 200_000)] == [16, 32]
    assert TrainConfig(bins=7).resolved(10).bins == 7


def test_an_ffm_starts_further_out_and_is_damped_less() -> None:
    names = ("embedding_dim", "init_scale", "epsilon", "l2_embedding")
    found = {
        model: tuple(getattr(TrainConfig(model=model).resolved(10**6), name) for name in names)
        for model in ("fm", "deepfm", "mine:Own", "ffm")
    }
    usual = (16, 0.01, 1e-4, 3e-4)
    assert found == {
        "fm": usual, "deepfm": usual, "mine:Own": usual, "ffm": (4, 0.03, 1e-5, 1e-4)
    }  # fmt: skip
    assert TrainConfig(model="ffm", epsilon=1e-8).resolved(10**6).epsilon == 1e-8


def test_what_is_given_stays() -> None:
    resolved = TrainConfig(epochs=7, batch_size=2048, l2_embedding=0.0).resolved(50)
    assert (resolved.epochs, resolved.batch_size, resolved.l2_embedding) == (7, 2048, 0.0)
    assert resolved.learning_rate == 0.01
    assert resolved.resolved(10**9) == resolved


@pytest.mark.parametrize(
    ("given", "rows", "expected"), [(None, 999_999, 5), (None, 10**6, 10), (3, 10**9, 3)]
)
def test_min_count_goes_by_the_training_rows(given: int | None, rows: int, expected: int) -> None:
    assert PrepareOptions(min_count=given).min_count_for(rows) == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epochs": "2"}, "--epochs is '2', expected a whole number"),
        ({"hidden": (64, 32)}, "--hidden is (64, 32), expected text"),
        ({"hidden": "64,x"}, "--hidden is '64,x', expected sizes like 64,32"),
        (
            {"hidden": "1000000000000"},
            "--hidden is '1000000000000', expected at most 100 layers of at most 1,048,576",
        ),
        (
            {"hidden": "9" * 5000},
            f"--hidden is '{'9' * 80}', expected at most 100 layers of at most 1,048,576",
        ),
        ({"epsilon": 0.0}, "--epsilon is 0.0, expected at least 1e-30"),
        ({"lanes": 2.5}, "--lanes is 2.5, expected a whole number"),
        ({"numeric": "log"}, "--numeric log is not known: use value, bins, both"),
        ({"epoch": 3}, "unknown option epoch: did you mean epochs?"),
        ({"warmup": 1}, "--warmup is 1.0, expected a number from 0 to below 1"),
    ],
)
def test_nonsense_is_one_sentence(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        TrainConfig(**given)
    assert str(caught.value) == message


def test_a_run_begun_before_an_option_was_renamed_is_read() -> None:
    assert TrainConfig.from_dict({"monitor": "log_loss"}, "config.toml").metric == "log_loss"


def test_keywords_are_the_declared_options() -> None:
    hints = get_type_hints(ExecutionKeywords)
    assert list(hints) == list(declared(Execution))
    # Text will do for a path, a list for a tuple.
    wider = {name: hints[name] for name in ("from_run", "logger")}
    assert hints == get_type_hints(Execution) | wider


def test_every_option_has_a_verb_phrase_as_help() -> None:
    for option in [*declared(TrainConfig).values(), *declared(Execution).values()]:
        assert option.help.endswith("."), option.name
        assert option.help[0].isupper(), option.name
        assert bool(option.chosen_by) == option.may_be_open, option.name

"""Who is compared: each peer's runner, environment and settings, in data and in words."""

from dataclasses import dataclass, field
from typing import Any, Final


@dataclass(frozen=True)
class Peer:
    """A tool with its settings."""

    title: str
    runner: str
    """Module of `benchmarks.peer_runs`."""
    environment: str | None
    """Of `environments.REQUIREMENTS`; None is the one that runs the benchmark."""
    preparation: str
    """How raw lines become its input, for the table."""
    training: str
    settings: dict[str, Any] = field(default_factory=dict)
    """What the runner is given."""


_FUXICTR: Final = {"dim": 16, "rate": 1e-3, "l2": 1e-5, "min_count": 10}
_DEEPCTR: Final = {"dim": 16, "batch": 8192}
_FUXICTR_WORDS: Final = "header put before the lines; its own processor: ⌊log²⌋ bins, min count 10"
_VW_WORDS: Final = "our converter to its text: ⌊log²⌋ bins, a feature a field"
_VW: Final = ["--loss_function", "logistic", "-b", "24"]

PEERS: Final = {
    "criteo-stream": Peer(
        "criteo-stream FM, one pass",
        "criteo_stream_fm",
        None,
        "`preprocess`, defaults",
        "defaults (dim 16, batch by rows), one pass",
        {"epochs": 1},
    ),
    "criteo-stream-8192": Peer(
        "criteo-stream FM, batch 8,192",
        "criteo_stream_fm",
        None,
        "`preprocess`, defaults",
        "dim 16, batch 8,192, one pass",
        {"epochs": 1, "batch_size": 8192},
    ),
    "fuxictr": Peer(
        "FuxiCTR FM, batch 10,000",
        "fuxictr_fm",
        "fuxictr",
        _FUXICTR_WORDS,
        "dim 16, Adam 1e-3, L2 1e-5, one epoch: its published settings for Criteo",
        _FUXICTR | {"batch": 10_000},
    ),
    "fuxictr-1000": Peer(
        "FuxiCTR FM, batch 1,000",
        "fuxictr_fm",
        "fuxictr",
        _FUXICTR_WORDS,
        "the same with more steps, for few rows",
        _FUXICTR | {"batch": 1000},
    ),
    "deepctr": Peer(
        "DeepCTR-Torch FM",
        "deepctr_fm",
        "deepctr",
        "pandas, LabelEncoder, MinMaxScaler over all rows: its example for Criteo",
        "DeepFM without network, dim 16, Adagrad as there, batch 8,192, one epoch",
        _DEEPCTR | {"integers": "values", "optimizer": "adagrad"},
    ),
    "deepctr-bins": Peer(
        "DeepCTR-Torch FM, integers as bins",
        "deepctr_fm",
        "deepctr",
        "the same, but ⌊log²⌋ bins instead of scaled values",
        "the same, all 39 fields in the FM, Adam 1e-3",
        _DEEPCTR | {"integers": "bins", "optimizer": "adam"},
    ),
    "vw": Peer(
        "Vowpal Wabbit LR",
        "vowpal_wabbit",
        "vowpal",
        _VW_WORDS,
        "`" + " ".join(_VW) + "`, one pass",
        {"options": _VW},
    ),
    "lightgbm": Peer(
        "LightGBM",
        "lightgbm_trees",
        "lightgbm",
        "our converter: click rate (out of fold) and count of each value, as its experiments",
        "63 leaves, rate 0.1, up to 500 trees, stopped by the valid log loss",
        {"num_leaves": 63, "learning_rate": 0.1, "trees": 500, "patience": 20},
    ),
}
"""Name on the command line → peer."""

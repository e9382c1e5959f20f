"""The folder of a training run: its configuration, history and checkpoints."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from criteo_stream import __version__
from criteo_stream.base.as_typed import changed_option
from criteo_stream.base.errors import RunError, UsageError
from criteo_stream.base.paths import user_path
from criteo_stream.base.records import RecordError
from criteo_stream.base.storage import (
    full_disk_explained,
    locked_folder,
    make_folder,
    utf8_path,
    write_bytes,
)
from criteo_stream.base.toml import write_toml
from criteo_stream.data.manifest import Manifest
from criteo_stream.runs.config import ResolvedConfig, flag
from criteo_stream.runs.config_file import RunRecord, read_record
from criteo_stream.runs.history import History

CONFIG_NAME = "config.toml"


class RunFolder:
    """``RUN/``: names of what is in it, and what it was begun with.

    Raises:
        UsageError: its path is not UTF-8.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = utf8_path(user_path(path))
        self.checkpoints = self.path / "checkpoints"
        self.plots = self.path / "plots"
        self.card = self.path / "README.md"
        self.tensorboard = self.path / "tensorboard"
        self.mlruns, self.mlflow = self.path / "mlruns", self.path / "mlflow.json"
        self.wandb = self.path / "wandb.json"
        self.history = History(self.path / "history.jsonl")
        self._config = self.path / CONFIG_NAME

    def is_begun(self) -> bool:
        """Whether it says what it was begun with."""
        return self._config.exists()

    def read(self) -> RunRecord:
        """Read what the run was begun with.

        Raises:
            RunError: the folder is not a run, or its configuration is damaged.
        """
        if not self._config.exists():
            if not self.path.exists():
                raise RunError(f"{self.path} does not exist: check the path of the run")
            raise RunError(
                f"{self.path} is not a run (no {CONFIG_NAME}): give the folder that "
                "`criteo-stream train DATA --out RUN` wrote"
            )
        try:
            return read_record(self._config)
        except (UsageError, RecordError, TypeError) as error:
            raise RunError(
                f"{self._config} is damaged or edited ({error}): restore it, or start a new run"
            ) from None

    def refuse_links(self) -> None:
        """Refuse to write into a run through a link that leads out of it.

        Raises:
            RunError: names the link.
        """
        files = (self._config, self.history.path, self.checkpoints, self.plots, self.card)
        logs = (self.tensorboard, self.mlruns, self.mlflow, self.wandb, self.path / "wandb")
        for path in (*files, *logs):
            if path.is_symlink():
                raise RunError(
                    f"{path} is a link, and a run's files are never written or removed through "
                    "one: put the folder itself where the link leads"
                )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for this process.

        Raises:
            RunError: another process trains in it, or the folder holds something else.
        """
        if self.path.exists() and not self.path.is_dir():
            raise RunError(f"{self.path} exists and is not a folder: choose another --out")
        self.refuse_links()
        with full_disk_explained(self.path):
            make_folder(self.path)
        foreign = [p for p in self.path.iterdir() if not p.name.startswith(".") or p.is_dir()]
        if foreign and not self._config.exists():
            raise RunError(
                f"{self.path} is not empty and is not a run (found {foreign[0].name}): "
                "choose another --out"
            )
        busy = RunError(
            f"another process trains in {self.path}: wait for it, or choose another --out"
        )
        with locked_folder(self.path, busy):
            yield

    def begin(
        self, config: ResolvedConfig, data: Path, manifest: Manifest, from_run: Path | None = None
    ) -> bool:
        """Begin the run, or continue the same one; True when it was begun before.

        Raises:
            RunError: it was begun with another data set or other options: names what differs.
            UsageError: a path that it would record is not UTF-8.
        """
        if self._config.exists():
            self._refuse_other(self.read(), config, manifest, from_run)
            return True
        tables: dict[str, dict[str, object]] = {
            "package": {"version": __version__},
            "data": {
                "path": str(utf8_path(data.resolve())),
                "fingerprint": manifest.fingerprint,
                "fit_fingerprint": manifest.fit_fingerprint,
                "lineage": manifest.lineage,
                "categories": manifest.categories,
            },
            "train": config.to_dict(),
        }
        if from_run is not None:
            tables["start"] = {"from": str(utf8_path(from_run.resolve()))}
        write_bytes(self._config, write_toml(tables).encode())
        return False

    def _refuse_other(
        self, record: RunRecord, config: ResolvedConfig, manifest: Manifest, from_run: Path | None
    ) -> None:
        if record.fingerprint != manifest.fingerprint:
            raise RunError(
                f"{self.path} is a run on another data set (fingerprint {record.fingerprint}, "
                f"now {manifest.fingerprint}): choose another --out"
            )
        begun: dict[str, object] = record.config.to_dict() | {"from": record.from_run}
        wanted: dict[str, object] = config.to_dict() | {
            "from": from_run and str(from_run.resolve())
        }
        for name in wanted:
            if begun[name] != wanted[name]:
                raise RunError(_differs(self.path, name, begun[name], wanted[name]))


def _differs(path: Path, name: str, begun: Any, wanted: Any) -> str:
    advice = "give the same again to continue it, or choose another --out"
    if name == "epochs" and wanted > begun:
        # The learning rate has fallen to zero over the planned steps: more of them is a new plan.
        advice = f"to go on from its weights, start a new run with --from {path}"
    return f"{path} was begun {changed_option(flag(name), begun, wanted)}: {advice}"

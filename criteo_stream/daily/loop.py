"""Progressive validation (Blum, Kalai and Langford 1999): predict each day, then learn from it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from criteo_stream.base.amounts import counted
from criteo_stream.base.errors import UsageError
from criteo_stream.base.options import declared, to_dict
from criteo_stream.base.paths import user_path
from criteo_stream.base.reserved_ids import FIRST_KNOWN_ID
from criteo_stream.base.schema import ALL_ROWS
from criteo_stream.base.terminal import say
from criteo_stream.daily.day_options import config_of_day
from criteo_stream.daily.folder import DayRecord, ProgressiveFolder
from criteo_stream.daily.options import ProgressiveOptions
from criteo_stream.daily.table import draw_days, table_text
from criteo_stream.data.manifest import Manifest
from criteo_stream.data.thinning import training_positives
from criteo_stream.metrics.figures import FIGURES
from criteo_stream.prepare.options import PrepareKeywords, PrepareOptions
from criteo_stream.prepare.pipeline import preprocess
from criteo_stream.raw.inputs import RawInput
from criteo_stream.raw.take_inputs import take_inputs
from criteo_stream.runs.config import TrainConfig
from criteo_stream.runs.execution import ExecutionKeywords
from criteo_stream.train.trainer import Trainer


@dataclass(frozen=True, kw_only=True)
class ProgressiveResult:
    """The days so far."""

    out: Path
    days: list[DayRecord]
    finished: bool
    """False where a signal stopped it."""
    warnings: list[str]

    def to_dict(self) -> dict[str, object]:
        """The figures of ``--json``."""
        return {
            "out": str(self.out),
            "days": [vars(record) for record in self.days],
            "finished": self.finished,
            "warnings": self.warnings,
        }

    def text(self) -> list[str]:
        """The figures for a person."""
        if not self.finished:
            days = f"{counted(len(self.days), 'day')} done"
            return [f"{self.out}: stopped, {days}; the same command again continues"]
        return table_text(self.days)


def progressive(
    raw: str | Path | Sequence[str | Path],
    out: str | Path,
    config: TrainConfig | None = None,
    *,
    keep: int | None = None,
    prepare: PrepareKeywords | None = None,
    execution: ExecutionKeywords | None = None,
    quiet: bool = False,
) -> ProgressiveResult:
    """Go through days of logs: extend the set, evaluate yesterday's run on it, continue the run.

    All rows of a day are evaluated before any of them is trained on, and then all are trained on.
    The same call again continues, also with more days at the end.

    Args:
        raw: one file a day: files, folders or globs.
        out: folder of the sets, runs and figures.
        config: the options that decide the weights; one epoch a day unless it says otherwise, and
            for others that are open see `day_options`.
        keep: keep the sets and runs of this many latest days; None keeps all.
        prepare: options of `preprocess`; each day's set extends the one before.
        execution: how training is executed.
        quiet: show no progress.

    Raises:
        UsageError: an option makes no sense, or the days are not those of the folder.
        CriteoStreamError: as `preprocess`, `Trainer.fit` and `evaluate_run`.
    """
    options = ProgressiveOptions(keep=keep)
    config = _settled(config or TrainConfig())
    folder = ProgressiveFolder(user_path(out))
    days = _Days(
        folder=folder,
        config=config,
        options=options,
        prepare={**(prepare or {}), "valid": 0.0, "test": 0.0, "quiet": quiet},
        execution={**(execution or {}), "quiet": quiet},
        quiet=quiet,
    )
    inputs = [raw] if isinstance(raw, str | Path) else list(raw)
    return days.run(inputs)


def _settled(config: TrainConfig) -> TrainConfig:
    """One epoch a day, and no evaluation before its end: a day has no valid split."""
    # As folders of all versions record it.
    settled: dict[str, Any] = {"epochs": 1, "evaluate_every": 0}
    return replace(config, **{n: v for n, v in settled.items() if getattr(config, n) is None})


@dataclass(kw_only=True)
class _Days:
    """One call of `progressive`."""

    folder: ProgressiveFolder
    config: TrainConfig
    options: ProgressiveOptions
    prepare: dict[str, Any]
    execution: dict[str, Any]
    quiet: bool

    def run(self, raw: Sequence[str | Path]) -> ProgressiveResult:
        """Go on from the first day that is not done."""
        warnings: list[str] = []
        sources = [
            beginning.source for beginning in take_inputs(raw, tell=self._say, warn=warnings.append)
        ]
        given = {n: v for n, v in self.prepare.items() if n in declared(PrepareOptions)}
        prepared_with = to_dict(PrepareOptions(**given))
        task = {n: prepared_with[n] for n in sorted(given)} | to_dict(self.config)
        with self.folder.opened(task):
            records = self.folder.records()
            self._refuse_other_days(records, sources)
            finished = True
            for day in range(len(records), len(sources)):
                record = self._day(day, sources[day], [r.rows for r in records], warnings)
                if record is None:
                    finished = False
                    break
                records.append(record)
                self.folder.write(records)
                if self.options.keep is not None:
                    self.folder.remove_before(day + 1 - self.options.keep)
                draw_days(records, self.folder.plot)
                self._say(table_text(records)[-1])
        return ProgressiveResult(
            out=self.folder.path, days=records, finished=finished, warnings=warnings
        )

    def _refuse_other_days(self, records: Sequence[DayRecord], sources: Sequence[RawInput]) -> None:
        if len(sources) < len(records):
            raise UsageError(
                f"{self.folder.path} has {counted(len(records), 'day')}, and the command names "
                f"{len(sources)}: "
                "give all of them, new ones at the end"
            )
        for record, source in zip(records, sources, strict=False):
            if record.name != source.name:
                raise UsageError(
                    f"day {record.day} of {self.folder.path} is {record.name}, not {source.name}: "
                    "give the same days in the same order, new ones at the end"
                )

    def _day(
        self, day: int, source: RawInput, rows_before: list[int], warnings: list[str]
    ) -> DayRecord | None:
        """Do a day, or what is left of it; None where a signal came."""
        data, before = self.folder.data(day), day - 1
        extend: dict[str, Any] = {"extend": self.folder.data(before)} if day else {}
        prepared = preprocess(str(source), data, **self.prepare, **extend)
        warnings += [f"{source.name}: {warning}" for warning in prepared.warnings]
        manifest = prepared.manifest
        figures = self._figures(day, data)
        start: dict[str, Any] = {"from_run": self.folder.run(before)} if day else {}
        run = self.folder.run(day)
        config = config_of_day(self.config, [*rows_before, manifest.rows["train"]])
        trained = Trainer(data, run, config, **self.execution, **start).fit()
        if not trained.finished:
            return None
        return _record(day, source, manifest, figures)

    def _figures(self, day: int, data: Path) -> dict[str, float | None]:
        """Of yesterday's run on all rows of a day."""
        if not day:
            return dict.fromkeys(FIGURES)
        from criteo_stream.predict.evaluate import evaluate_run

        found = evaluate_run(
            self.folder.run(day - 1),
            ALL_ROWS,
            data=data,
            device=self.execution.get("device", "auto"),
            trust_model=self.execution.get("trust_model", False),
            quiet=self.quiet,
        )
        return {name: getattr(found, name) for name in FIGURES}

    def _say(self, line: str) -> None:
        if not self.quiet:
            say(line)


def _record(
    day: int, source: RawInput, manifest: Manifest, figures: dict[str, float | None]
) -> DayRecord:
    extension = manifest.extension
    ids = sum(manifest.categories) - FIRST_KNOWN_ID * len(manifest.categories)

    def mean(shares: dict[str, float]) -> float:
        return sum(shares.values()) / len(shares)

    return DayRecord(
        day=day,
        name=source.name,
        source=str(source),
        rows=manifest.rows["train"],
        positives=training_positives(manifest),
        **figures,
        ids=ids,
        new_ids=sum(manifest.categories) - sum(extension.ids_before) if extension else ids,
        oov_before=mean(extension.oov_before) if extension else None,
        oov_after=mean(extension.oov_after) if extension else None,
        data=manifest.fingerprint,
    )

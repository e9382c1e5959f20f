"""Stage 2, fit: the runs of all blocks are merged into vocabularies and quantile tables."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

from criteo_stream.base.records import write_record
from criteo_stream.base.reserved_ids import FIRST_KNOWN_ID
from criteo_stream.base.schema import CATEGORICAL_COLUMNS, FEATURE_COLUMNS, INTEGER_COLUMNS
from criteo_stream.data.manifest import Manifest
from criteo_stream.prepare.counts import Int64Array, SpilledRun, UInt32Array, merge_in_parts
from criteo_stream.prepare.counts_before import (
    CountsBefore,
    ExtendedCounts,
    remove_counts_before,
)
from criteo_stream.prepare.drift import drift
from criteo_stream.prepare.extend_fit import sort_before
from criteo_stream.prepare.fit_records import FittedRecord, fingerprint_of, fitted_columns
from criteo_stream.prepare.host import Host
from criteo_stream.prepare.quantiles import build_table, open_table, write_table
from criteo_stream.prepare.scratch import spilled_runs, verify_runs
from criteo_stream.prepare.splits import TRAIN
from criteo_stream.prepare.stage_plan import FitPlan, check_wanted
from criteo_stream.prepare.vocabulary import build_vocabulary
from criteo_stream.prepare.work_records import FittedCategorical, FittedNumeric, Written


class FitWork:
    """Merges the blocks' runs, column by column.

    Args:
        path: of the plan.
        plan: the blocks, and what becomes of their counts.
        host: gives the memory that a merge may take.
    """

    plan_of = FitPlan

    def __init__(self, path: Path, plan: FitPlan, host: Host) -> None:
        self.plan = plan
        self._path = path
        self._workspace = plan.workspace
        self._host = host
        self._made_from = fingerprint_of(plan.blocks, plan.extends)

    def close(self) -> None:
        """Nothing is held."""

    def verify(self, number: int) -> None:
        """Compare a block's runs with what was written, before merges rely on them.

        Raises:
            OutputError: one is missing or damaged.
        """
        with self._host.slot("fit", self._host.budget.threads):
            check_wanted(self._path)
            verify_runs(self._workspace.blocks, self.plan.blocks[number])

    def fit(self, number: int) -> None:
        """Fit a column: merge its counts, write what they make, and its record.

        Raises:
            OutputError: a block's scratch is missing or damaged, or the disk is full.
            StoppedError: nobody wants it any more.
        """
        column = FEATURE_COLUMNS[number]
        with self._host.slot("fit", self._host.budget.threads):
            check_wanted(self._path)
            if column in fitted_columns(self._workspace, self._made_from, [column]):
                return
            runs = spilled_runs(self._workspace.blocks, self.plan.blocks, column)
            record: FittedRecord
            if column in INTEGER_COLUMNS:
                rows = sum(r.rows[TRAIN] - r.missing[column] for r in self.plan.blocks)
                record = self._fit_numeric(column, runs, rows=rows)
            else:
                record = self._fit_categorical(column, runs)
            check_wanted(self._path)
            write_record(self._workspace.fitted(column), record, unique=True)

    def _merged(self, runs: Sequence[SpilledRun]) -> Iterator[tuple[UInt32Array, Int64Array]]:
        for part in merge_in_parts(runs, self._host.budget.merge_entries):
            check_wanted(self._path)
            yield part

    def _merged_with_before(
        self, column: str, runs: Sequence[SpilledRun], manifest: Manifest
    ) -> Iterator[ExtendedCounts]:
        path = self._workspace.sorted_before(column)
        sort_before(self._workspace.before, manifest, column, path)
        before = CountsBefore.opened(path)
        for part in before.with_new(runs, self._host.budget.merge_entries):
            check_wanted(self._path)
            yield part

    @cached_property
    def _extended(self) -> Manifest | None:
        """The manifest of the fit that is extended, if one is; its tables are in the workspace."""
        return Manifest.read(self._workspace.before.path) if self.plan.extends else None

    def _fit_numeric(self, column: str, runs: Sequence[SpilledRun], *, rows: int) -> FittedNumeric:
        if manifest := self._extended:
            return self._keep_numeric(column, runs, rows, manifest)
        distinct = 0

        def counted() -> Iterator[tuple[UInt32Array, Int64Array]]:
            nonlocal distinct
            for values, counts in self._merged(runs):
                distinct += len(values)
                yield values, counts

        path = self._workspace.table(column)
        write_table(path, build_table(counted(), rows))
        return FittedNumeric(
            made_from=self._made_from,
            distinct=distinct,
            table=Written.of(path),
            outside=0,
            shifted=0.0,
        )

    def _keep_numeric(
        self, column: str, runs: Sequence[SpilledRun], rows: int, manifest: Manifest
    ) -> FittedNumeric:
        """The table of the fit that is extended, and how far the new rows are from it."""
        path = self._workspace.table(column)
        found = drift(open_table(path), self._merged(runs), rows)
        return FittedNumeric(
            made_from=self._made_from,
            distinct=manifest.numeric[INTEGER_COLUMNS.index(column)].distinct,
            table=Written.of(path),
            outside=found.outside,
            shifted=found.shifted,
        )

    def _fit_categorical(self, column: str, runs: Sequence[SpilledRun]) -> FittedCategorical:
        vocabulary = self._workspace.data.vocabulary(column)
        lookup = self._workspace.lookup(column)
        counts = self._workspace.data.counts(column) if self.plan.keeps_counts else None
        known_before = 0
        parts: Iterable[ExtendedCounts]
        if (manifest := self._extended) is None:
            parts = (ExtendedCounts.of_new(*part) for part in self._merged(runs))
        else:
            parts = self._merged_with_before(column, runs, manifest)
            known_before = manifest.categories[CATEGORICAL_COLUMNS.index(column)] - FIRST_KNOWN_ID
        built = build_vocabulary(
            parts,
            vocabulary,
            lookup,
            counts,
            min_count=self.plan.min_count,
            max_vocabulary=self.plan.max_vocabulary,
            known_before=known_before,
        )
        if manifest:
            remove_counts_before(self._workspace.sorted_before(column))
        return FittedCategorical(
            made_from=self._made_from,
            distinct=built.distinct,
            oov=built.oov_rows,
            digest=built.digest,
            vocabulary=Written.of(vocabulary),
            lookup=Written.of(lookup),
            counts=Written.of(counts) if counts else None,
            new_oov_before=built.new_oov_before if manifest else 0,
            new_oov=built.new_oov if manifest else 0,
        )

"""Records of the fitted columns: which are finished, whether their files are sound."""

from collections.abc import Sequence

from criteo_stream.base.errors import OutputError
from criteo_stream.base.records import checksum_of
from criteo_stream.base.schema import FEATURE_COLUMNS, INTEGER_COLUMNS
from criteo_stream.prepare.work_records import (
    RESTART,
    BlockRecord,
    FittedCategorical,
    FittedNumeric,
    verify,
)
from criteo_stream.prepare.workspace import Workspace

FittedRecord = FittedNumeric | FittedCategorical


def fitted_columns(
    workspace: Workspace, made_from: str, columns: Sequence[str] = FEATURE_COLUMNS
) -> dict[str, FittedRecord]:
    """The records of those columns whose fit is finished and was made from this.

    Raises:
        OutputError: a record is damaged.
    """
    done: dict[str, FittedRecord] = {}
    for column in columns:
        path = workspace.fitted(column)
        found: FittedRecord | None
        if column in INTEGER_COLUMNS:
            found = workspace.find(path, FittedNumeric)
        else:
            found = workspace.find(path, FittedCategorical)
        if found is not None and found.made_from == made_from:
            done[column] = found
    return done


def verify_fitted(workspace: Workspace, column: str, record: FittedRecord) -> None:
    """Compare a fitted column's files with its record.

    Raises:
        OutputError: a file is missing or damaged.
    """
    if isinstance(record, FittedNumeric):
        verify(workspace.table(column), record.table)
    else:
        verify(workspace.data.vocabulary(column), record.vocabulary)
        verify(workspace.lookup(column), record.lookup)
        if record.counts:
            verify(workspace.data.counts(column), record.counts)


def fingerprint_of(records: Sequence[BlockRecord], extends: str | None = None) -> str:
    """Identity of the blocks that a fit is made from, and of the fit that it extends."""
    blocks = [record.fingerprint for record in records]
    return checksum_of({"blocks": blocks} | ({"extends": extends} if extends else {}))


def refuse_after_encoding(workspace: Workspace, column: str, blocks: int) -> None:
    """Refuse to fit where encoding has begun, which frees what the fit needs.

    Raises:
        OutputError: it has: the fit of this column was lost.
    """
    if any(workspace.shards(number).exists() for number in range(blocks)):
        raise OutputError(
            f"{workspace.fitted(column)} is missing or of other blocks, though shards "
            f"were made with it: restore it, or {RESTART}"
        )

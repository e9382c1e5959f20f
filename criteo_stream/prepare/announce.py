"""Messages of a preparation: the plan, reused work, and warnings."""

from collections.abc import Sequence
from typing import Final

from criteo_stream.base.amounts import counted, format_size
from criteo_stream.base.reserved_ids import FIRST_KNOWN_ID
from criteo_stream.base.schema import FEATURE_COLUMNS
from criteo_stream.data.extension import Extension
from criteo_stream.data.manifest import Manifest
from criteo_stream.prepare.disk_space import Estimate
from criteo_stream.prepare.memory_budget import MemoryBudget
from criteo_stream.prepare.work_records import BlockRecord
from criteo_stream.prepare.workspace import Workspace
from criteo_stream.raw.beginning import Beginning
from criteo_stream.raw.layouts import Layout

_AT_EACH_END: Final = 15
_LARGE_SHIFT: Final = 0.1
"""Of quantiles: a tenth of the rows are where another tenth was."""
_MUCH_OUTSIDE: Final = 0.05
"""Share of values that are beyond a table's range, where all have the same quantile."""


def plan_text(
    inputs: Sequence[Beginning],
    layout: Layout,
    needed: Estimate,
    budget: MemoryBudget,
    cluster: str | None = None,
) -> list[str]:
    """The inputs, and in a second line what they need and who does the work."""
    size = sum(beginning.file_bytes for beginning in inputs)
    return [
        f"{counted(len(inputs), 'input')}, {format_size(size)}, layout {layout.name}: about "
        f"{counted(needed.rows, 'row')}",
        f"needs about {format_size(needed.bytes)} of disk, "
        f"{_workers_text(len(inputs), budget, cluster)}",
    ]


def _workers_text(inputs: int, budget: MemoryBudget, cluster: str | None) -> str:
    memory = f"up to {format_size(budget.total_bytes)} of memory"
    if cluster is not None:
        threads = counted(budget.workers, "thread") if budget.workers else "all cores of its host"
        return f"{memory} and {threads} for each worker of {cluster}"
    streams = budget.streams(inputs)
    at_a_time = f", {streams} inputs at a time" if streams > 1 else ""
    return f"{memory}; {counted(budget.threads, 'worker')}{at_a_time}"


def order_text(inputs: Sequence[Beginning]) -> str:
    """The inputs in the order in which they are read, in one line."""
    return "in this order: " + listed([str(beginning.source) for beginning in inputs])


def listed(names: Sequence[str]) -> str:
    """Names in one line; of very many the first and the last."""
    if len(names) > 2 * _AT_EACH_END + 1:
        left_out = len(names) - 2 * _AT_EACH_END
        names = [*names[:_AT_EACH_END], f"… {left_out} more …", *names[-_AT_EACH_END:]]
    return ", ".join(names)


def reuse_text(
    inputs: Sequence[Beginning], workspace: Workspace, done: Sequence[Sequence[BlockRecord]]
) -> str | None:
    """The work of an earlier try that is reused, in one line; None where it left no block."""
    blocks = [record for records in done for record in records]
    if not blocks:
        return None
    lines = sum(record.lines for record in blocks)
    parts = [f"{counted(lines, 'line')} in {counted(len(blocks), 'block')}"]
    if columns := sum(workspace.fitted(column).exists() for column in FEATURE_COLUMNS):
        parts.append(counted(columns, "fitted column"))
    if encoded := sum(workspace.shards(number).exists() for number in range(len(blocks))):
        parts.append(f"the shards of {counted(encoded, 'block')}")
    again = [
        beginning.source.path.name
        for beginning, records in zip(inputs, done, strict=True)
        if beginning.compression and records and not records[-1].last
    ]
    parts[-1] += f" are reused; {again[0]} is decompressed again" if again else " are reused"
    return "continuing: " + ", ".join(parts)


def empty_vocabularies(manifest: Manifest) -> list[str]:
    """A warning where every categorical value is too rare; one column alone may be so."""
    if not manifest.rows["train"] or any(c.ids > FIRST_KNOWN_ID for c in manifest.categorical):
        return []
    return [
        f"no categorical value comes {manifest.min_count:,} times in the training split: every id "
        "is OOV, and models learn from the integers alone; use a smaller --min-count"
    ]


def extension_text(extension: Extension, categories: Sequence[int]) -> list[str]:
    """What a fit adds to the one that it extends, and how far the new rows have drifted.

    Args:
        extension: of the manifest.
        categories: size of the id space of C1..C26 now.
    """
    added = sum(categories) - sum(extension.ids_before)
    before, after = extension.oov_before, extension.oov_after
    worst = max(after, key=after.__getitem__)
    outside = max(extension.outside, key=extension.outside.__getitem__)
    shifted = max(extension.shifted, key=extension.shifted.__getitem__)
    count = len(before)
    lines = [
        f"extended: {counted(added, 'new id')}; OOV are {sum(before.values()) / count:.2%} of the "
        f"new training values before, {sum(after.values()) / count:.2%} now (at most "
        f"{after[worst]:.2%}, {worst})",
        f"drift: {extension.outside[outside]:.2%} of {outside} is beyond the range of its "
        f"quantiles, at most; they have moved by {extension.shifted[shifted]:.3f} at most "
        f"({shifted})",
    ]
    if not extension.counted:
        lines.append(
            "the set before kept no counts of rare values: they are counted from its values with "
            "an id and the new rows alone"
        )
    return lines


def large_drift(extension: Extension | None) -> list[str]:
    """A warning where quantiles of an extended fit are far from the new rows."""
    if extension is None:
        return []
    columns = [
        column
        for column, shift in extension.shifted.items()
        if shift > _LARGE_SHIFT or extension.outside[column] > _MUCH_OUTSIDE
    ]
    if not columns:
        return []
    return [
        f"{', '.join(columns)} have drifted far from the quantiles of the first set: models still "
        "read them, but a set of all days, prepared anew, would spread them better"
    ]

"""The manifest of a prepared set, from what its stages made."""

from collections.abc import Sequence

from criteo_stream.base.schema import ROW_GROUP_ROWS, SPLITS
from criteo_stream.data.manifest import FileEntry, InputEntry, Manifest, ShardEntry
from criteo_stream.prepare.collect_fit import Fit
from criteo_stream.prepare.work_records import BlockRecord
from criteo_stream.raw.inputs import RawInput


def build_manifest(
    *,
    task: dict[str, object],
    inputs: Sequence[RawInput],
    records: Sequence[BlockRecord],
    fit: Fit,
    shards: dict[str, list[ShardEntry]],
    rejected: FileEntry | None,
    times: dict[str, object],
) -> Manifest:
    """Put together what is known of a set whose files are all written.

    Args:
        task: what was asked for, see `task_of`.
        inputs: in natural order.
        records: the blocks of all inputs, in order.
        fit: what stage 2 learned.
        shards: what stage 3 wrote, per split.
        rejected: the list of malformed lines, where there were any.
        times: when and how fast; the only part that differs between equal runs.
    """
    rows: dict[str, int] = {split: sum(entry.rows for entry in shards[split]) for split in SPLITS}
    rows["rejected"] = sum(record.rejected for record in records)
    if thinned := sum(record.thinned for record in records):
        rows["thinned"] = thinned
    accounted = sum(rows.values())
    rows["read"] = sum(record.lines for record in records)
    assert accounted == rows["read"], f"{rows['read']} lines read, {accounted} accounted for"
    return Manifest(
        package_version=str(task["package_version"]),
        layout=str(task["layout"]),
        options=task,
        inputs=[_input_entry(source, i, records) for i, source in enumerate(inputs)],
        rows=rows,
        row_group_rows=ROW_GROUP_ROWS,
        min_count=fit.min_count,
        numeric=fit.numeric,
        categorical=fit.categorical,
        fit_files=fit.files,
        count_files=fit.counts,
        fit_fingerprint=fit.fingerprint,
        fit_digests=fit.digests,
        extension=fit.extension,
        shards=shards,
        rejected=rejected,
        times=times,
    )


def _input_entry(source: RawInput, number: int, records: Sequence[BlockRecord]) -> InputEntry:
    last = [record for record in records if record.source == number][-1]
    return InputEntry(
        path=str(source.identity),
        name=source.name,
        bytes=last.state.bytes,
        mtime_ns=last.state.mtime_ns,
        crc32=f"{last.end.crc32:08x}",
        rows=last.end.lines,
    )

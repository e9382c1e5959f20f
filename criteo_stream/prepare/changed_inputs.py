"""Whether raw inputs still hold what was read of them; a new time stamp alone is no change."""

from collections.abc import Callable, Sequence

from criteo_stream.base.errors import InputError
from criteo_stream.base.file_state import FileState
from criteo_stream.data.manifest import InputEntry
from criteo_stream.prepare.work_records import BlockRecord
from criteo_stream.raw.beginning import Beginning
from criteo_stream.raw.chunks import first_position, read_chunks
from criteo_stream.raw.inputs import RawInput


def refuse_changed_since_read(
    inputs: Sequence[Beginning],
    done: Sequence[Sequence[BlockRecord]],
    block_rows: int,
    tell: Callable[[str], None],
) -> None:
    """Compare inputs with the blocks that an earlier try read of them.

    Args:
        inputs: in natural order.
        done: per input, its blocks from the first on.
        block_rows: lines of a block.
        tell: hears of each file that has to be read for it.

    Raises:
        InputError: the content of an input changed: names the file and the lines.
    """
    for beginning, records in zip(inputs, done, strict=True):
        source = beginning.source
        if not records or all(
            record.state.agrees_with(FileState.of(source.path)) for record in records
        ):
            continue
        tell(f"{source} was touched since it was read: comparing its content")
        ends = {record.end.lines: record.end.position for record in records}
        place, previous = first_position(beginning), 0
        for chunk in read_chunks(beginning, block_rows=block_rows):
            place = place.after(chunk.extent())
            expected = ends.pop(place.lines, None)
            if expected is not None and expected != place:
                raise _changed(source, previous, place.lines)
            previous = place.lines if expected else previous
            if not ends and not records[-1].last:
                break
        if ends or (records[-1].last and place.lines != records[-1].end.lines):
            raise _changed(source, previous, max([place.lines, *ends]))


def _changed(source: RawInput, after: int, until: int) -> InputError:
    return InputError(
        f"{source} changed since it was read (lines {after + 1:,} to {until:,}): "
        "bring the old content back, or start over with --restart"
    )


def refuse_changed_since_made(inputs: Sequence[Beginning], entries: Sequence[InputEntry]) -> None:
    """Compare inputs with those that a finished set was made from.

    Raises:
        InputError: the content of an input changed: names the file.
    """
    made_from = {entry.path: entry for entry in entries}
    for beginning in inputs:
        source = beginning.source
        entry = made_from.get(str(source.identity))
        if entry is None:
            raise InputError(
                f"the data set was not made from {source}: choose another --out, or start "
                "over with --restart"
            )
        stat = source.path.stat()
        if (stat.st_size, stat.st_mtime_ns) == (entry.bytes, entry.mtime_ns):
            continue
        end = first_position(beginning)
        for chunk in read_chunks(beginning):
            end = end.after(chunk.extent())
        if (f"{end.crc32:08x}", end.lines) != (entry.crc32, entry.rows):
            raise InputError(
                f"{source} changed since the data set was made from it: "
                "choose another --out, or start over with --restart"
            )

"""Which shards were compared with the manifest, and the files that they were then."""

from pathlib import Path

from criteo_stream.base.errors import DataSetError
from criteo_stream.base.file_state import FileState
from criteo_stream.data.manifest import FileEntry, verify_file


class VerifiedFiles:
    """Compares each file with its checksum once, and again when it has changed since.

    Readers in several threads may share it.
    """

    def __init__(self) -> None:
        self._known: dict[str, FileState] = {}

    def check(self, folder: Path, entry: FileEntry) -> None:
        """Compare a file with its entry, unless it is the file that was compared before.

        Raises:
            DataSetError: it is missing or damaged.
        """
        try:
            state = FileState.of(folder / entry.path)
        except OSError:  # the comparison says what is wrong
            state = None
        if state is None or self._known.get(entry.path) != state:
            changed = entry.path in self._known
            try:
                verify_file(folder, entry)
            except DataSetError as error:
                raise DataSetError(
                    f"{error} (it was sound before)" if changed else f"{error}"
                ) from None
            if state is not None:
                self._known[entry.path] = state

    def forget(self) -> None:
        """Compare every file again when it is next opened."""
        self._known.clear()

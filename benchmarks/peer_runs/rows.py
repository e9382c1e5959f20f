"""The rows that every peer sees: one raw file in three parts, by blocks of lines.

Of ten blocks, eight are training, one valid and one test rows, in the order of the file; so every
tool reads plain files and splits nothing, and test rows keep their order.
"""

from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final, Self

BLOCK: Final = 1000
"""Lines of a block."""


def split_of(block: int) -> str:
    """The split of a block by its number."""
    return {8: "valid", 9: "test"}.get(block % 10, "train")


@dataclass(frozen=True)
class Parts:
    """The three files and how many rows they have."""

    train: Path
    valid: Path
    test: Path
    rows: dict[str, int]

    @classmethod
    def cut(cls, raw: Path, folder: Path, block: int = BLOCK) -> Self:
        """Cut a plain raw file.

        Raises:
            ValueError: it has too few lines for three splits.
        """
        paths = {name: folder / f"{name}.tsv" for name in ("train", "valid", "test")}
        rows = dict.fromkeys(paths, 0)
        with ExitStack() as stack:
            lines = stack.enter_context(raw.open("rb"))
            files = {name: stack.enter_context(path.open("wb")) for name, path in paths.items()}
            number = 0
            while part := list(islice(lines, block)):
                name = split_of(number)
                files[name].writelines(part)
                rows[name] += len(part)
                number += 1
        if not all(rows.values()):
            found = sum(rows.values())
            raise ValueError(f"{raw} has {found:,} lines, expected more than {9 * block:,}")
        return cls(**paths, rows=rows)


def labels(path: Path) -> bytes:
    """The label of every line, as bytes of 0 and 1."""
    with path.open("rb") as lines:
        return bytes(line[0] - ord("0") for line in lines)

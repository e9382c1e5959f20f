"""Figures into the documents that quote them, between two marks that stay."""

from pathlib import Path


def write_section(document: Path, name: str, text: str) -> None:
    """Replace what stands between ``<!-- name -->`` and ``<!-- end of name -->``.

    Raises:
        ValueError: the document has no such marks.
    """
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    before, found, rest = document.read_text().partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"{document} has no marks {begin.strip()} and {end}")
    document.write_text(f"{before}{begin}{text.rstrip()}\n{end}{after}")

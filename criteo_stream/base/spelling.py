"""What a misspelt word was meant to be."""

import difflib
from collections.abc import Iterable
from typing import Final

_SYNONYMS: Final = {"gpu": "cuda"}
"""Words for a known one whose spelling is nearer to another: gpu is no misspelt cpu."""


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that is spelt most alike, whatever its case; None where none is near."""
    by_spelling = {name.lower(): name for name in known}
    if (other := _SYNONYMS.get(word.lower())) in by_spelling:
        return by_spelling[other]
    # Of two letters one may be wrong: fn for fm.
    found = difflib.get_close_matches(word.lower(), by_spelling, 1, 0.6 if len(word) > 3 else 0.5)
    return by_spelling[found[0]] if found else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown word: a question, or nothing where none is near."""
    near = nearest(word, known)
    return f": did you mean {near}?" if near else ""


def not_known(what: str, word: str, known: Iterable[str], or_else: str = "") -> str:
    """A whole message about a word that must be one of a few, all of which it names."""
    known = list(known)
    near = nearest(word, known)
    hint = f" (did you mean {near}?)" if near else ""
    return f"{what} {word} is not known{hint}: use {', '.join(known)}{or_else}"

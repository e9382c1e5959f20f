"""Ids with the same meaning in every categorical column; known values come after them."""

from typing import Final

OOV_ID: Final = 0
"""Id of a value that is rare in training or was never seen there."""
MISSING_ID: Final = 1
"""Id of an empty field."""
FIRST_KNOWN_ID: Final = 2
"""Id of the most frequent known value; the next most frequent is one more."""

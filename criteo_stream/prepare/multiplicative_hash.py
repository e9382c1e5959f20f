"""A multiplicative hash (Knuth, vol. 3, 6.4): values to slots of a table."""

import numpy as np

from criteo_stream.prepare.counts import UInt32Array

MULTIPLIER = 2654435769
"""2^32 divided by the golden ratio: neighbouring values land far apart."""


def slots_of(values: UInt32Array, bits: int) -> UInt32Array:
    """Slots in a table of ``2 ** bits``, 1 ≤ bits ≤ 32, of values uint32 [n]; uint32 [n]."""
    slots = values * np.uint32(MULTIPLIER)
    slots >>= np.uint32(32 - bits)
    return slots

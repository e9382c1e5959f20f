"""The encoding of the design, word by word and row by row: slow, and plain to see."""

from bisect import bisect_left, bisect_right
from collections import Counter

import numpy as np


def plain_encoding(
    lines: list[bytes], training: list[bytes], min_count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Quantiles float64 [n, 13] and ids int64 [n, 26], by the words of the design alone."""
    rows = [line.split(b"\t") for line in lines]
    fitted = [line.split(b"\t") for line in training]
    quantiles = np.full((len(rows), 13), np.nan)
    for i in range(13):
        values = sorted(int(row[1 + i]) for row in fitted if row[1 + i])
        cache = {text: mid_rank(values, int(text)) for text in {row[1 + i] for row in rows} if text}
        quantiles[:, i] = [cache.get(row[1 + i], np.nan) for row in rows]
    ids = np.zeros((len(rows), 26), np.int64)
    for i in range(26):
        counts = Counter(int(row[14 + i], 16) for row in fitted if row[14 + i])
        known = sorted((-n, value) for value, n in counts.items() if n >= min_count)
        vocabulary = {value: 2 + rank for rank, (_, value) in enumerate(known)}
        ids[:, i] = [vocabulary.get(int(r[14 + i], 16), 0) if r[14 + i] else 1 for r in rows]
    return quantiles, ids


def mid_rank(values: list[int], x: int) -> float:
    """Quantile of a value among sorted ones: between its left and its right rank."""
    if x <= values[0]:
        return 0.0
    if x >= values[-1]:
        return 1.0
    return (bisect_left(values, x) + bisect_right(values, x) - 1) / 2 / (len(values) - 1)

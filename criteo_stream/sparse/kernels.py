"""The kernels that numba compiles for the CPU; `acceleration` decides whether they are used.

Each gives the bits of the PyTorch operations that it stands in for: every multiplication and
addition is rounded by itself, in the same order. Threads call a kernel together and claim its
tasks one by one; what a task writes is its own, so that their number changes no bit.

``control`` is int64 [2]: the next task, and whether a row lies outside of its table.
"""

from typing import Any, Final

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

ROWS_AT_ONCE: Final = 1024
"""Table rows of a task."""
_AHEAD: Final = 8
"""Rows between the one that is read and the one that is fetched into the cache."""
_DIGIT: Final = 11
"""Most bits of a digit of an id: its 2,048 counters stay in the first-level cache."""
_LINE: Final = 16
"""Numbers of 32 bits in a cache line."""

# A check for division by zero would keep loops from being vectorized.
OPTIONS: Final[dict[str, Any]] = {"nogil": True, "error_model": "numpy"}
"""How every kernel is compiled."""

_NO_ROW: Final = 1 << 62
"""Beyond every table row."""

Ints = NDArray[np.int32]
Floats = NDArray[np.float32]
Control = NDArray[np.int64]


def _claim(typing: Any, control: Any) -> Any:
    """The next task's number, which no other thread gets."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        return builder.atomic_rmw("add", array.data, ir.Constant(ir.IntType(64), 1), "monotonic")

    return types.int64(control), generate


def _fetch(typing: Any, array: Any, place: Any) -> Any:
    """Fetch the cache line of a place in a flat array that will be needed soon."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        byte, integer = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, integer, integer, integer])
        prefetch = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
        address = builder.bitcast(builder.gep(data, [arguments[1]]), byte)
        # To be written, to be kept in all caches, data.
        builder.call(prefetch, [address, *(ir.Constant(integer, n) for n in (1, 3, 1))])
        return context.get_dummy_value()

    return types.void(array, place), generate


claim: Any = intrinsic(_claim)
fetch: Any = intrinsic(_fetch)


def _sort_column(
    ids: Ints,
    column: int,
    keys: Any,
    pairs: Any,
    others: Any,
    counters: Any,
    rows: Ints,
    starts: Ints,
    members: Ints,
) -> int:
    """Sort one column by digits, the least significant first, which keeps equal ids in order.

    Args:
        ids: [B, n].
        column: which of the n.
        keys: scratch, uint32 [B].
        pairs: scratch, uint64 [B]: a key in the upper half, its batch row in the lower.
        others: the same in the order of the next digit.
        counters: scratch, uint32 [3, 2 ** _DIGIT].
        rows: [B], takes the distinct ids.
        starts: [B], takes where each one's look-ups begin among those of all columns.
        members: [B], takes the batch rows.

    Returns:
        Number of distinct ids.
    """
    batch = len(ids)
    low = high = ids[0, column]
    for row in range(batch):
        value = ids[row, column]
        keys[row] = np.uint32(value)
        low, high = min(low, value), max(high, value)
    base = np.uint32(low)
    span = np.int64(high) - np.int64(low)
    bits = 0
    while span >> bits:
        bits += 1
    digits = max(1, -(-bits // _DIGIT))
    width = -(-bits // digits)
    size = 1 << width
    mask = np.uint32(size - 1)
    counters[:digits, :size] = 0
    for digit in range(digits):
        counts, shift = counters[digit], np.uint32(digit * width)
        for row in range(batch):
            key = np.uint32(keys[row] - base)
            counts[(key >> shift) & mask] += np.uint32(1)
        if digits > 1:
            total = np.uint32(0)
            for value in range(size):
                count = counts[value]
                counts[value] = total
                total += count
    counts, distinct = counters[0], 0
    if digits == 1:  # the counters know all
        total = np.uint32(0)
        for value in range(size):
            count = counts[value]
            counts[value] = total
            if count:
                rows[distinct] = np.int64(low) + value
                starts[distinct] = column * batch + total
                distinct += 1
            total += count
        for row in range(batch):
            key = np.uint32(keys[row] - base)
            place = counts[key]
            counts[key] = place + np.uint32(1)
            members[place] = row
        return distinct
    half = np.uint64(32)
    for row in range(batch):
        key = np.uint32(keys[row] - base)
        place = counts[key & mask]
        counts[key & mask] = place + np.uint32(1)
        pairs[place] = (np.uint64(key) << half) | np.uint64(row)
    for digit in range(1, digits):
        counts, above = counters[digit], half + np.uint64(digit * width)
        for row in range(batch):
            pair = pairs[row]
            number = (pair >> above) & np.uint64(mask)
            place = counts[number]
            counts[number] = place + np.uint32(1)
            others[place] = pair
        pairs, others = others, pairs
    last = np.uint64(1) << np.uint64(63)  # no key
    for number in range(batch):
        pair = pairs[number]
        upper = pair >> half
        if upper != last:
            rows[distinct] = np.int64(low) + np.int64(upper)
            starts[distinct] = column * batch + number
            distinct, last = distinct + 1, upper
        members[number] = pair & np.uint64(0xFFFFFFFF)
    return distinct


sort_column = njit(**OPTIONS)(_sort_column)


def sort_columns(
    control: Control, ids: Ints, rows: Ints, starts: Ints, members: Ints, distinct: Control
) -> None:
    """Sort every column of ids by itself; a task is a column.

    Args:
        control: see above.
        ids: [B, n].
        rows: [n, B], takes each column's distinct ids.
        starts: [n, B], takes where their look-ups begin among those of all columns.
        members: [n, B], takes the batch row of every look-up.
        distinct: int64 [n], takes the number of distinct ids.
    """
    batch, columns = ids.shape
    keys, pairs = np.empty(batch, np.uint32), np.empty((2, batch), np.uint64)
    counters = np.empty((3, 1 << _DIGIT), np.uint32)
    while True:
        column = claim(control)
        if column >= columns:
            break
        distinct[column] = sort_column(
            ids,
            column,
            keys,
            pairs[0],
            pairs[1],
            counters,
            rows[column],
            starts[column],
            members[column],
        )


def join_columns(
    control: Control,
    first: Control,
    column_rows: Ints,
    column_starts: Ints,
    members: Ints,
    rows: NDArray[np.int64],
    starts: Ints,
    places: Ints,
) -> None:
    """Join what `sort_columns` found; a task is a column.

    Args:
        control: see above.
        first: int64 [n + 1], where each column's distinct ids begin among all.
        column_rows: [n, B], of each column.
        column_starts: [n, B], of each column.
        members: [n, B].
        rows: int64 [U], takes the distinct ids of all columns.
        starts: [U], takes where their look-ups begin.
        places: [B, n], takes which of them every look-up is of.
    """
    columns, batch = column_rows.shape
    strips = -(-columns // _LINE)
    while True:
        task = claim(control)
        if task >= strips * _LINE:
            break
        # Neighbouring columns share cache lines of the places, so they go to one thread.
        column = task % strips * _LINE + task // strips
        if column >= columns:
            continue
        begin = first[column]
        count = first[column + 1] - begin
        for number in range(count):
            rows[begin + number] = column_rows[column, number]
            starts[begin + number] = column_starts[column, number]
        for number in range(count):
            here = column_starts[column, number] - column * batch
            end = batch
            if number + 1 < count:
                end = column_starts[column, number + 1] - column * batch
            for place in range(here, end):
                places[members[column, place], column] = begin + number


def _lowest_row(rows: Ints, places: Control, ends: Control) -> Any:
    """The lowest of the rows that ranks have next, or `_NO_ROW` where none has any left."""
    lowest = np.int64(_NO_ROW)
    for rank in range(len(places)):
        if places[rank] < ends[rank]:
            lowest = min(lowest, np.int64(rows[rank, places[rank]]))
    return lowest


lowest_row = njit(**OPTIONS)(_lowest_row)


def count_merged(control: Control, begins: Any, rows: Ints, distinct: Control) -> None:
    """Count the distinct rows that several ranks have together; a task is a range of rows.

    Args:
        control: see above.
        begins: int64 [tasks + 1, W], where in each rank's rows every task begins.
        rows: [W, n], every rank's, unique and ascending.
        distinct: int64 [tasks], takes the numbers.
    """
    tasks, ranks = begins.shape[0] - 1, begins.shape[1]
    places = np.empty(ranks, np.int64)
    while True:
        task = claim(control)
        if task >= tasks:
            break
        places[:] = begins[task]
        ends = begins[task + 1]
        count = 0
        while True:
            lowest = lowest_row(rows, places, ends)
            if lowest == _NO_ROW:
                break
            for rank in range(ranks):
                if places[rank] < ends[rank] and rows[rank, places[rank]] == lowest:
                    places[rank] += 1
            count += 1
        distinct[task] = count


def add_merged(
    control: Control,
    begins: Any,
    first: Control,
    rows: Ints,
    values: Any,
    sum_rows: Control,
    sums: Floats,
) -> None:
    """Add up what several ranks have of each row, in the order of ranks; tasks as before.

    Args:
        control: see above.
        begins: int64 [tasks + 1, W].
        first: int64 [tasks + 1], where the distinct rows of every task begin among all.
        rows: [W, n].
        values: [W, n, d].
        sum_rows: [U], takes the distinct rows.
        sums: [U, d], takes the sums.
    """
    tasks, ranks = begins.shape[0] - 1, begins.shape[1]
    width = sums.shape[1]
    places = np.empty(ranks, np.int64)
    while True:
        task = claim(control)
        if task >= tasks:
            break
        places[:] = begins[task]
        ends = begins[task + 1]
        for number in range(first[task], first[task + 1]):
            lowest = lowest_row(rows, places, ends)
            sum_rows[number] = lowest
            target = sums[number]
            is_first = True
            for rank in range(ranks):
                place = places[rank]
                if place < ends[rank] and rows[rank, place] == lowest:
                    source = values[rank, place]
                    if is_first:
                        for column in range(width):
                            target[column] = source[column] + np.float32(0)  # −0 becomes 0
                    else:
                        for column in range(width):
                            target[column] += source[column]
                    is_first = False
                    places[rank] = place + 1


def gather(control: Control, rows: NDArray[np.int64], table: Floats, out: Floats) -> None:
    """Copy rows of a table into the first columns of another.

    Args:
        control: see above.
        rows: int64 [U].
        table: [N, d].
        out: [U, d or more].
    """
    count, (length, width) = len(rows), table.shape
    flat = table.reshape(-1)
    while True:
        begin = claim(control) * ROWS_AT_ONCE
        if begin >= count:
            break
        for number in range(begin, min(begin + ROWS_AT_ONCE, count)):
            if number + _AHEAD < count:
                ahead = rows[number + _AHEAD] * width
                fetch(flat, ahead)
                fetch(flat, ahead + width - 1)
            row = rows[number]
            if row < 0 or row >= length:
                control[1] = 1
                continue
            source, target = table[row], out[number]
            for column in range(width):
                target[column] = source[column]


def adam(
    control: Control,
    rows: NDArray[np.int64],
    gradient: Floats,
    weights: Floats,
    means: Floats,
    squares: Floats,
    l2: Floats,
    rates: Floats,
) -> None:
    """The update of `RowwiseSparseAdam`.

    Args:
        control: see above.
        rows: int64 [U], unique.
        gradient: [U, d], of these rows.
        weights: [N, d], as both moments.
        means: running means of the gradient.
        squares: running means of its square.
        l2: [d], or [0] without.
        rates: 1 − β1, β2, 1 − β2, ε and the step's size.
    """
    count, (length, width) = len(rows), weights.shape
    flat_weights, flat_means, flat_squares = (
        weights.reshape(-1),
        means.reshape(-1),
        squares.reshape(-1),
    )
    new1, kept2, new2, epsilon, size = rates[0], rates[1], rates[2], rates[3], rates[4]
    has_l2 = len(l2) > 0
    while True:
        begin = claim(control) * ROWS_AT_ONCE
        if begin >= count:
            break
        for number in range(begin, min(begin + ROWS_AT_ONCE, count)):
            if number + _AHEAD < count:
                ahead = rows[number + _AHEAD] * width
                fetch(flat_weights, ahead)
                fetch(flat_means, ahead)
                fetch(flat_squares, ahead)
                fetch(flat_weights, ahead + width - 1)
                fetch(flat_means, ahead + width - 1)
                fetch(flat_squares, ahead + width - 1)
            row = rows[number]
            if row < 0 or row >= length:
                control[1] = 1
                continue
            weight, mean, square, slope = weights[row], means[row], squares[row], gradient[number]
            for column in range(width):
                value = slope[column]
                if has_l2:
                    value += weight[column] * l2[column]
                first = mean[column] + (value - mean[column]) * new1
                second = square[column] * kept2 + value * value * new2
                mean[column], square[column] = first, second
                weight[column] += size * first / (np.sqrt(second) + epsilon)


_CONTROL, _ROWS = "int64[::1]", "int64[::1]"
_TABLE: Final = "int64[:, ::1]"
_INTS, _FLOATS, _VECTOR = "int32[:, ::1]", "float32[:, ::1]", "float32[::1]"
SIGNATURES: Final[dict[Any, tuple[str, ...]]] = {
    sort_columns: (_CONTROL, _INTS, _INTS, _INTS, _INTS, _ROWS),
    join_columns: (_CONTROL, _ROWS, _INTS, _INTS, _INTS, _ROWS, "int32[::1]", _INTS),
    count_merged: (_CONTROL, _TABLE, _INTS, _ROWS),
    add_merged: (_CONTROL, _TABLE, _ROWS, _INTS, "float32[:, :, ::1]", _ROWS, _FLOATS),
    gather: (_CONTROL, _ROWS, _FLOATS, _FLOATS),
    adam: (_CONTROL, _ROWS, _FLOATS, _FLOATS, _FLOATS, _FLOATS, _VECTOR, _VECTOR),
}
"""The types of every kernel's arguments."""

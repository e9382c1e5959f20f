"""Triton kernels of a table's look-ups and update; `criteo_stream.sparse.fused` calls them.

No atomics: every sum is made in an order that the shapes and the ids fix, so bits repeat. No size
depends on the data, so that a step can be captured as a CUDA graph.

The update works on the look-ups sorted by table row. They are cut into tiles of equal length,
whatever the rows, so that the work is balanced however often a row is looked up:

* `update_tiles` goes through each tile from its first look-up to its last. Where a row's look-ups
  both begin and end in the tile, it updates that row at once. What is left are the sums of a row
  that began in an earlier tile (the tile's *head*) and of one that goes on in the next (its
  *tail*).
* `update_spans` adds up each row that goes over the end of a tile: a tail and the heads behind it.
"""

import triton
import triton.language as tl


@triton.jit
def lookup_sums(
    weight,
    ids,
    sums,
    squares,
    batch,
    table_rows,
    COLUMNS: tl.constexpr,
    LINEAR: tl.constexpr,
    DIM: tl.constexpr,
    LINEAR_BLOCK: tl.constexpr,
    DIM_BLOCK: tl.constexpr,
    ROWS: tl.constexpr,
):
    """Σ of looked-up rows [batch, LINEAR + DIM], and of their vectors' squares [batch].

    Args:
        weight: [table_rows, LINEAR + DIM].
        ids: int32 [batch, COLUMNS]; those that are no row of the table count as zeros.
        sums, squares: the results.
        batch, table_rows: numbers of rows.
        COLUMNS, LINEAR, DIM: shapes.
        LINEAR_BLOCK, DIM_BLOCK: the next powers of 2.
        ROWS: batch rows of a program.
    """
    width = LINEAR + DIM
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    there = row < batch
    i = tl.arange(0, LINEAR_BLOCK)[None, :]
    f = tl.arange(0, DIM_BLOCK)[None, :]
    linear_sums = tl.zeros((ROWS, LINEAR_BLOCK), tl.float32)
    vector_sums = tl.zeros((ROWS, DIM_BLOCK), tl.float32)
    square_sums = tl.zeros((ROWS, DIM_BLOCK), tl.float32)
    for column in range(COLUMNS):
        id_ = tl.load(ids + row * COLUMNS + column, mask=there, other=table_rows)
        known = ((id_ >= 0) & (id_ < table_rows))[:, None]
        start = id_.to(tl.int64)[:, None] * width
        linear_sums += tl.load(weight + start + i, mask=known & (i < LINEAR), other=0.0)
        vector = tl.load(weight + start + LINEAR + f, mask=known & (f < DIM), other=0.0)
        vector_sums += vector
        square_sums += vector * vector
    out = sums + row.to(tl.int64)[:, None] * width
    tl.store(out + i, linear_sums, mask=there[:, None] & (i < LINEAR))
    tl.store(out + LINEAR + f, vector_sums, mask=there[:, None] & (f < DIM))
    tl.store(squares + row, tl.sum(square_sums, 1), mask=there)


@triton.jit
def _adam(
    weight,
    mean,
    square,
    place,
    chosen,
    summed,
    pull,
    l2,
    step_size,
    beta1,
    beta2,
    eps,
    HAS_SQUARES: tl.constexpr,
):
    """Adam on the elements at ``place``; their gradient is summed + pull · weight."""
    old = tl.load(weight + place, mask=chosen, other=0.0)
    gradient = summed
    if HAS_SQUARES:
        gradient += pull * old
    gradient += l2 * old
    moment = tl.load(mean + place, mask=chosen, other=0.0)
    moment += (1 - beta1) * (gradient - moment)
    tl.store(mean + place, moment, mask=chosen)
    second = tl.load(square + place, mask=chosen, other=0.0) * beta2
    second += (1 - beta2) * gradient * gradient
    tl.store(square + place, second, mask=chosen)
    new = old + step_size * tl.div_rn(moment, tl.sqrt_rn(second) + eps)
    tl.store(weight + place, new, mask=chosen)


@triton.jit
def _keep(parts, tile, chosen, linear, vector, square, WIDTH: tl.constexpr, LINEAR: tl.constexpr,
          DIM: tl.constexpr, LINEAR_BLOCK: tl.constexpr, DIM_BLOCK: tl.constexpr):  # fmt: skip
    """Write unfinished sums of tiles to ``parts`` [tiles, WIDTH]."""
    i = tl.arange(0, LINEAR_BLOCK)[None, :]
    f = tl.arange(0, DIM_BLOCK)[None, :]
    out = parts + tile.to(tl.int64) * WIDTH
    tl.store(out[:, None] + i, linear, mask=chosen[:, None] & (i < LINEAR))
    tl.store(out[:, None] + LINEAR + f, vector, mask=chosen[:, None] & (f < DIM))
    tl.store(out + LINEAR + DIM, square, mask=chosen)


@triton.jit
def update_tiles(
    rows,
    order,
    lookups,
    table_rows,
    linear_gradient,
    linear_stride,
    vector_gradient,
    vector_stride,
    square_gradient,
    weight,
    mean,
    square,
    l2,
    step_size,
    heads,
    tails,
    beta1,
    beta2,
    eps,
    COLUMNS: tl.constexpr,
    FIELDS: tl.constexpr,
    LINEAR: tl.constexpr,
    DIM: tl.constexpr,
    HAS_SQUARES: tl.constexpr,
    LINEAR_BLOCK: tl.constexpr,
    DIM_BLOCK: tl.constexpr,
    TILE: tl.constexpr,
    TILES: tl.constexpr,
):
    """Sum the gradient of each table row over its look-ups, and update rows of a single tile.

    Args:
        rows: int32 [lookups], ascending; those beyond the table are passed over.
        order: int64 [lookups], where in the batch's ids [batch, COLUMNS] each look-up came from.
        lookups, table_rows: numbers of them.
        linear_gradient: [batch, LINEAR], of each batch row's sum of linear weights.
        vector_gradient: of each batch row's sum of vectors, [batch, DIM], or with FIELDS of every
            field's vector, [batch · FIELDS, DIM].
        linear_stride, vector_stride: elements from one row of them to the next.
        square_gradient: [batch], of each batch row's sum of squares; with HAS_SQUARES.
        weight, mean, square: [table_rows, LINEAR + DIM], the table and its moments.
        l2: [LINEAR + DIM], coefficient of each table column.
        step_size: [1], −learning rate, corrected for the bias of the moments.
        heads, tails: [tiles, LINEAR + DIM + 1], unfinished sums.
        beta1, beta2, eps: Adam's.
        COLUMNS, FIELDS, LINEAR, DIM: shapes; FIELDS is 0 where vectors are summed up.
        HAS_SQUARES: whether there is a gradient of squares.
        LINEAR_BLOCK, DIM_BLOCK: the next powers of 2.
        TILE: look-ups of a tile.
        TILES: tiles of a program.
    """
    WIDTH: tl.constexpr = LINEAR + DIM
    tile = tl.program_id(0) * TILES + tl.arange(0, TILES)
    begin = tile * TILE
    some = begin < lookups
    i = tl.arange(0, LINEAR_BLOCK)[None, :]
    f = tl.arange(0, DIM_BLOCK)[None, :]
    size = tl.load(step_size)
    l2_linear = tl.load(l2 + i, mask=i < LINEAR, other=0.0)
    l2_vector = tl.load(l2 + LINEAR + f, mask=f < DIM, other=0.0)
    linear_sum = tl.zeros((TILES, LINEAR_BLOCK), tl.float32)
    vector_sum = tl.zeros((TILES, DIM_BLOCK), tl.float32)
    square_sum = tl.zeros((TILES,), tl.float32)
    row = tl.load(rows + begin, mask=some, other=-1)
    before = tl.load(rows + begin - 1, mask=some & (begin > 0), other=-1)
    began = some & (row != before)  # the row's first look-up is in this tile
    goes_on = some & (row == -2)  # none yet; the row's last look-up is not in this tile
    for j in range(TILE):
        place = begin + j
        there = place < lookups
        from_ = tl.load(order + place, mask=there, other=0)
        batch_row = from_ // COLUMNS
        linear_sum += tl.load(
            linear_gradient + batch_row[:, None] * linear_stride + i,
            mask=there[:, None] & (i < LINEAR),
            other=0.0,
        )
        vector_row = batch_row
        if FIELDS:
            vector_row = batch_row * FIELDS + (from_ - batch_row * COLUMNS)
        vector_sum += tl.load(
            vector_gradient + vector_row[:, None] * vector_stride + f,
            mask=there[:, None] & (f < DIM),
            other=0.0,
        )
        if HAS_SQUARES:
            square_sum += tl.load(square_gradient + batch_row, mask=there, other=0.0)
        following = tl.load(rows + place + 1, mask=place + 1 < lookups, other=-1)
        ends = there & (following != row)
        goes_on = there & (following == row)
        if tl.max(ends.to(tl.int32), 0) > 0:
            _keep(heads, tile, ends & ~began, linear_sum, vector_sum, square_sum,
                  WIDTH + 1, LINEAR, DIM, LINEAR_BLOCK, DIM_BLOCK)  # fmt: skip
            whole = (ends & began & (row >= 0) & (row < table_rows))[:, None]
            start = row.to(tl.int64)[:, None] * WIDTH
            _adam(weight, mean, square, start + i, whole & (i < LINEAR), linear_sum, 0.0,
                  l2_linear, size, beta1, beta2, eps, False)  # fmt: skip
            _adam(weight, mean, square, start + LINEAR + f, whole & (f < DIM), vector_sum,
                  2 * square_sum[:, None], l2_vector, size, beta1, beta2, eps,
                  HAS_SQUARES)  # fmt: skip
            linear_sum = tl.where(ends[:, None], 0.0, linear_sum)
            vector_sum = tl.where(ends[:, None], 0.0, vector_sum)
            square_sum = tl.where(ends, 0.0, square_sum)
            began = began | ends
        row = following
    _keep(heads, tile, goes_on & ~began, linear_sum, vector_sum, square_sum,
          WIDTH + 1, LINEAR, DIM, LINEAR_BLOCK, DIM_BLOCK)  # fmt: skip
    _keep(tails, tile, goes_on & began, linear_sum, vector_sum, square_sum,
          WIDTH + 1, LINEAR, DIM, LINEAR_BLOCK, DIM_BLOCK)  # fmt: skip


@triton.jit
def update_spans(
    rows,
    ends,
    lookups,
    table_rows,
    weight,
    mean,
    square,
    l2,
    step_size,
    heads,
    tails,
    beta1,
    beta2,
    eps,
    LINEAR: tl.constexpr,
    DIM: tl.constexpr,
    HAS_SQUARES: tl.constexpr,
    LINEAR_BLOCK: tl.constexpr,
    DIM_BLOCK: tl.constexpr,
    TILE: tl.constexpr,
    TILES: tl.constexpr,
    HEADS: tl.constexpr,
):
    """Add up and update the rows whose look-ups go over the end of a tile; see `update_tiles`.

    Args:
        ends: int32 [whole tiles], the place behind the last look-up of each tile's last row.
        HEADS: heads to add at once.
        TILES: tiles of a program, which sees to the rows that begin in them.
    """
    PART: tl.constexpr = LINEAR + DIM + 1
    i = tl.arange(0, LINEAR_BLOCK)
    f = tl.arange(0, DIM_BLOCK)
    size = tl.load(step_size)
    for number in range(TILES):
        tile = tl.program_id(0) * TILES + number
        last = (tile + 1) * TILE - 1
        goes_over = last + 1 < lookups
        row = tl.load(rows + last, mask=goes_over, other=-1)
        following = tl.load(rows + last + 1, mask=goes_over, other=-2)
        first = tl.load(rows + tile * TILE, mask=goes_over, other=-1)
        before = tl.load(rows + tile * TILE - 1, mask=goes_over & (tile > 0), other=-1)
        began = (row != first) | (row != before)
        if goes_over & (row == following) & began & (row >= 0) & (row < table_rows):
            end = (tl.load(ends + tile) - 1) // TILE
            tail = tails + tile.to(tl.int64) * PART
            linear_sum = tl.load(tail + i, mask=i < LINEAR, other=0.0)
            vector_sum = tl.load(tail + LINEAR + f, mask=f < DIM, other=0.0)
            square_sum = tl.load(tail + LINEAR + DIM)
            start = tile + 1
            while start <= end:  # a range over a loaded bound does not run in the interpreter
                tiles = start + tl.arange(0, HEADS)
                there = tiles <= end
                head = heads + tiles.to(tl.int64) * PART
                linear_sum += tl.sum(
                    tl.load(
                        head[:, None] + i[None, :],
                        mask=there[:, None] & (i < LINEAR)[None, :],
                        other=0.0,
                    ),
                    0,
                )
                vector_sum += tl.sum(
                    tl.load(
                        head[:, None] + LINEAR + f[None, :],
                        mask=there[:, None] & (f < DIM)[None, :],
                        other=0.0,
                    ),
                    0,
                )
                square_sum += tl.sum(tl.load(head + LINEAR + DIM, mask=there, other=0.0), 0)
                start += HEADS
            place = row.to(tl.int64) * (LINEAR + DIM)
            _adam(weight, mean, square, place + i, i < LINEAR, linear_sum, 0.0,
                  tl.load(l2 + i, mask=i < LINEAR, other=0.0),
                  size, beta1, beta2, eps, False)  # fmt: skip
            _adam(weight, mean, square, place + LINEAR + f, f < DIM, vector_sum, 2 * square_sum,
                  tl.load(l2 + LINEAR + f, mask=f < DIM, other=0.0),
                  size, beta1, beta2, eps, HAS_SQUARES)  # fmt: skip

"""Synthetic Criteo logs whose best possible AUC and log loss are known.

Raw lines with the marginals of the real Kaggle rows: 13 heavy-tailed integers, 26 categorical
columns of the real cardinalities with most values seen once, columns that are missing together.
Columns are drawn independently but for that. Row i depends on the seed and i alone, so that a
longer file begins with the shorter one, and any part can be made on its own.

The labels come from a hidden factorization machine that is the same for every seed
(`teacher.TEACHER_NAME`; changing it reruns whatever was measured with it). With 39 fields,

    logit = b + Σ_c w_c + ½ Σ_f [(Σ_c v_cf)² − Σ_c v_cf²]        f = 1 … 4
    P(click) = 1 / (1 + exp(−logit))
    b = −2.445

* A categorical value of rank r (0 is the most frequent) has
  w = 0.29 · z₀ / (1 + r / 300) and v_f = 0.148 · z_f / (1 + r / 20).
* An integer x acts through its cumulative share t = P(X < x) + ½ P(X = x) ∈ [0, 1] in its column,
  rounded down to 1/256 (its middle counts); integers from the 65,536th on act like that one:
  w = 0.29 · z₀(t) and v_f = 0.148 · z_f(t), with z(t) linear between 9 points 0, ⅛, … 1.
* A missing value has w = 0.29 · z₀ and v_f = 0.148 · z_f of its own, per column.

The z are fixed random numbers, nearly normal: (S − 1020) / √43690 with S the sum of eight bytes
of Philox's 64-bit outputs (key ``teacher!`` and the field's number from 0 on), in the order of
the ranks, 5 to a rank: z₀, z₁, … z₄; the points of an integer in the place of ranks; missing comes
last. Ranks from 8,192 on take the z and the scale of rank 4,096 + r mod 4,096: rare
values hardly matter, and what matters can be learned from a few million rows.

The logit is rounded to the middle of one of 2^16 cells between −8 and 8, and the probability to
a multiple of 2^−32, which a row's uniform 32-bit number is compared with: the stated
probabilities are exactly those of the labels, and AUC and log loss follow from counts per cell.
"""

from criteo_stream.synthetic.rows import CHUNK_ROWS, Chunk, generate
from criteo_stream.synthetic.teacher import TEACHER_NAME
from criteo_stream.synthetic.writing import LAYOUTS, write_days, write_synthetic

__all__ = [
    "CHUNK_ROWS",
    "LAYOUTS",
    "TEACHER_NAME",
    "Chunk",
    "generate",
    "write_days",
    "write_synthetic",
]

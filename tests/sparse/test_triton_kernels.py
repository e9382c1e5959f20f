"""The kernels compile for a GPU; none is needed for that."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")

SCRIPT = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from criteo_stream.sparse import triton_kernels as kernels

LONG = {"order": "*i64"}
INTS = {"ids": "*i32", "rows": "*i32", "ends": "*i32"}
SCALARS = {name: "i32" for name in (
    "batch", "table_rows", "lookups", "linear_stride", "vector_stride"
)} | {name: "fp32" for name in ("beta1", "beta2", "eps")}

def compiled(kernel, warps, constants):
    names = [p.name for p in kernel.params]
    types = {n: (LONG | INTS | SCALARS).get(n, "*fp32") for n in names if n not in constants}
    source = ASTSource(
        fn=kernel,
        signature={n: types.get(n, "constexpr") for n in names},
        constexprs={n: constants[n] for n in names if n in constants},
    )
    target = GPUTarget("cuda", 90, 32)
    triton.compile(source, target=target, options={"num_warps": warps})

for dim, block in ((16, 16), (0, 1), (156, 256)):
    for fields, squares in ((0, True), (39, False)):
        constants = dict(
            COLUMNS=39, FIELDS=fields, HAS_SQUARES=squares, LINEAR=1, DIM=dim, LINEAR_BLOCK=1,
            DIM_BLOCK=block, TILE=32, HEADS=64,
        )
        at_once = max(1, 256 // block)
        compiled(kernels.lookup_sums, 1, constants | {"ROWS": at_once})
        compiled(kernels.update_tiles, 1, constants | {"TILES": at_once})
        compiled(kernels.update_spans, 2, constants | {"TILES": 4})
"""


def test_kernels_compile_for_a_gpu(tmp_path: Path) -> None:
    environment = os.environ | {"TRITON_CACHE_DIR": str(tmp_path)}
    environment.pop("TRITON_INTERPRET", None)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr

"""Loaded by Dask workers of tests (``--preload``): each piece of work takes a little longer.

``CRITEO_STREAM_TEST_SECONDS`` says how much; with ``CRITEO_STREAM_TEST_VERSION`` the worker is one
of another version of the package.
"""

import os
import time
from typing import Any


def dask_setup(worker: object) -> None:
    """Called by Dask when the worker starts."""
    import criteo_stream
    from criteo_stream.prepare import stage1_read, stage2_fit, stage3_encode, stage_plan

    criteo_stream.__version__ = os.environ.get(
        "CRITEO_STREAM_TEST_VERSION", criteo_stream.__version__
    )
    stage_plan.__version__ = criteo_stream.__version__  # type: ignore[attr-defined]
    seconds = float(os.environ.get("CRITEO_STREAM_TEST_SECONDS", "0"))
    for kind, name, times in (
        (stage1_read.ReadWork, "_finish", 1),
        (stage2_fit.FitWork, "fit", 1 / 3),  # there are many columns
        (stage3_encode.EncodeWork, "encode", 1),
    ):
        real = getattr(kind, name)

        def slower(self: Any, number: Any, real: Any = real, times: float = times) -> None:
            time.sleep(seconds * times)
            real(self, number)

        setattr(kind, name, slower)

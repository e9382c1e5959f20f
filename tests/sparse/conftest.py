"""Every test here runs twice: with compiled kernels, where numba is installed, and without."""

from collections.abc import Iterator
from contextlib import nullcontext

import pytest

from criteo_stream.sparse.acceleration import unaccelerated


@pytest.fixture(autouse=True, scope="module", params=["kernels", "pytorch"])
def way(request: pytest.FixtureRequest) -> Iterator[str]:
    with nullcontext() if request.param == "kernels" else unaccelerated():
        yield request.param

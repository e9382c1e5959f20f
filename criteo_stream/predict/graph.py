"""A model as a graph of plain operations: a `torch.export` program, or ONNX."""

import io
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from criteo_stream.base.errors import CriteoStreamError, UsageError

_TOLERANCE: Final = 1e-5
"""Largest difference of a probability between an exported graph and the model."""
_INSIDE_BYTES: Final = 1_500_000_000
"""Weights beyond it go to a file beside the ONNX graph, which may have two gigabytes."""
_ANY_ROWS: Final = ({0: torch.export.Dim("rows")},) * 2
"""The first axis of both inputs may have any length; its name is in the graph."""
_INSTALL: Final = "--format onnx needs ONNX: pip install 'criteo-stream[export]'"


class Probability(nn.Module):
    """A model with probabilities instead of logits."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, numeric: Tensor, categorical: Tensor) -> Tensor:
        """Quantiles float32 [B, 13], NaN for missing, and ids int32 [B, 26] → [B]."""
        logits: Tensor = self.model(numeric, categorical)
        return logits.sigmoid()


def export_program(
    model: nn.Module, numeric: Tensor, categorical: Tensor
) -> torch.export.ExportedProgram:
    """The graph of a model's probabilities, for any number of rows.

    Args:
        model: in evaluation mode.
        numeric: float32 [B, 13], some rows to trace it with.
        categorical: int32 [B, 26].
    """
    with torch.no_grad():
        return torch.export.export(
            Probability(model), (numeric, categorical), dynamic_shapes=_ANY_ROWS, strict=False
        )


def save_program(path: Path, model: nn.Module, numeric: Tensor, categorical: Tensor) -> bool:
    """Write a `torch.export` program; `torch.export.load(path).module()` scores with it.

    Returns:
        True: it was compared with the model.

    Raises:
        CriteoStreamError: it gives other probabilities than the model.
    """
    with _exporter_unheard(), _WholeFile(io.FileIO(path, "x")) as file:
        torch.export.save(export_program(model, numeric, categorical), file)
        file.flush()
    with torch.no_grad():
        found = torch.export.load(path).module()(numeric, categorical)
    _refuse_difference(found.numpy(), model, numeric, categorical)
    return True


def save_onnx(
    path: Path,
    model: nn.Module,
    numeric: Tensor,
    categorical: Tensor,
    about: Mapping[str, str] | None = None,
) -> bool:
    """Write an ONNX graph; whether it was compared with the model, which needs onnxruntime.

    Args:
        path: a new file.
        model: in evaluation mode.
        numeric: float32 [B, 13], some rows to trace and compare it with.
        categorical: int32 [B, 26].
        about: facts that the file carries, as ``metadata_props``.

    Raises:
        UsageError: ONNX is not installed.
        CriteoStreamError: the graph gives other probabilities than the model.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError:
        raise UsageError(_INSTALL) from None
    # Read when it is loaded; else it leaves an id and a database in the home folder.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    with _exporter_unheard():
        program = torch.onnx.export(
            export_program(model, numeric, categorical),
            input_names=["numeric", "categorical"],
            output_names=["probability"],
            dynamic_shapes=_ANY_ROWS,
            dynamo=True,
            verbose=False,
        )
        assert program is not None
        program.model.metadata_props.update(about or {})
        program.save(str(path), external_data=size > _INSIDE_BYTES)
    try:
        import onnxruntime
    except ImportError:
        return False
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    inputs = {"numeric": numeric.numpy(), "categorical": categorical.numpy()}
    (found,) = session.run(["probability"], inputs)
    _refuse_difference(found, model, numeric, categorical)
    return True


class _WholeFile(io.BufferedWriter):
    """A file whose writes do not fail, but its end does.

    torch's writer ends the process (SIGABRT) when a write fails.
    """

    error: OSError | None = None

    def write(self, data: Any) -> int:
        """Write, or do nothing after a write that failed."""
        if self.error is None:
            try:
                return super().write(data)
            except OSError as error:
                self.error = error
        return len(data)

    def flush(self) -> None:
        """Raise the first error of a write."""
        if self.error is not None:
            raise self.error
        super().flush()


@contextmanager
def _exporter_unheard() -> Iterator[None]:
    """Its warnings are about itself; what it made is compared with the model."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _refuse_difference(
    found: npt.NDArray[np.float32], model: nn.Module, numeric: Tensor, categorical: Tensor
) -> None:
    with torch.no_grad():
        expected = Probability(model)(numeric, categorical).numpy()
    difference = float(np.abs(found - expected).max(initial=0.0))
    if not difference <= _TOLERANCE:
        raise CriteoStreamError(
            f"the exported graph's probabilities differ from the model's by {difference:.2g}: "
            "export with another format, and report it with the versions of torch and onnxscript"
        )

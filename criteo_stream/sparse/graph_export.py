"""Whether a model is being exported as a graph."""

import torch


def is_exporting() -> bool:
    """Whether a graph without gradients is being traced, which must consist of plain operations."""
    return torch.compiler.is_compiling() and not torch.is_grad_enabled()

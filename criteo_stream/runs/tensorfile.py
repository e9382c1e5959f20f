"""Tensors in a file in the safetensors format, written and checksummed in one pass.

The format is a JSON header and plain bytes: reading it runs no code. The library's readers read
these files. Its own writer is not used, for the memory that it can take beside the tensors:

* Its versions 0.5.3, 0.6.2 and 0.7.0 copy all tensors first. To write 1.00 GB of them took
  1,001 MB more (``Pss_Anon + Pss_Shmem``, sampled from another process), version 0.8.0 took 2 MB,
  `write_tensors` none. Any version from 0.4.3 on is allowed.
* From a GPU, all versions hold every tensor in host memory at once (by their source);
  `write_tensors` holds one.

Time was no reason: with its sync and a second pass for the checksum, 0.8.0 took 2.8 to 5.0 s,
`write_tensors` 4.5 to 7.0 s, on two busy cores.
"""

import json
import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

import torch
from safetensors import safe_open
from torch import Tensor

from criteo_stream.base.system import sync

_DTYPES: Final = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_CHUNK_BYTES: Final = 1 << 24


class Described(NamedTuple):
    """What a file's header says of a tensor."""

    shape: tuple[int, ...]
    bytes: int


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> str:
    """Write tensors to a new file and sync it.

    Returns:
        CRC-32 of the file, as 8 hex digits.

    Raises:
        OSError: the file cannot be written.
    """
    # Wide elements first keeps every tensor aligned to its element.
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header = _header({name: tensors[name] for name in names})
    crc = zlib.crc32(header)
    with path.open("xb") as file:
        file.write(header)
        for name in names:
            flat = tensors[name].detach().cpu().reshape(-1)
            content = flat.view(torch.uint8).numpy().data
            for start in range(0, len(content), _CHUNK_BYTES):
                chunk = content[start : start + _CHUNK_BYTES]
                file.write(chunk)
                crc = zlib.crc32(chunk, crc)
        file.flush()
        sync(file.fileno())
    return f"{crc:08x}"


def _header(tensors: Mapping[str, Tensor]) -> bytes:
    entries, end = {}, 0
    for name, tensor in tensors.items():
        begin, end = end, end + tensor.numel() * tensor.element_size()
        entries[name] = {
            "dtype": _DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def describe_tensors(path: Path) -> dict[str, Described]:
    """Shapes and sizes by name, without reading the tensors.

    Raises:
        FileNotFoundError: there is no such file.
        SafetensorError: it is damaged.
    """
    bytes_each = {code: dtype.itemsize for dtype, code in _DTYPES.items()}
    found = {}
    with safe_open(path, framework="pt") as file:
        for name in sorted(file.keys()):
            tensor = file.get_slice(name)
            shape = tuple(tensor.get_shape())
            found[name] = Described(shape, math.prod(shape) * bytes_each[tensor.get_dtype()])
    return found

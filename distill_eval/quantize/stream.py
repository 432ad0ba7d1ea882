"""A safetensors file that is written tensor by tensor, so that one of them is in memory at a time.

`safetensors.torch.save_file` wants all of them and makes two more copies. The format, a header of known length that may
be padded with spaces and then the bytes, is described at https://github.com/huggingface/safetensors#format.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Self

import torch
from torch import Tensor

_DTYPES = {
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
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
}
_BYTES_PER_ENTRY = 128
"""Room in the header for one tensor besides its name."""


class SafetensorsStream:
    """A context manager; what it was given is a whole file when it ends without an error."""

    def __init__(self, path: Path, *, num_tensors: int, longest_name: int) -> None:
        """Open the file.

        Args:
            path: Where.
            num_tensors: At most so many will come.
            longest_name: Characters of the longest of their names, at most.
        """
        self._file = path.open("wb")
        self._room = 8 * ((num_tensors * (_BYTES_PER_ENTRY + longest_name) + 1024) // 8)
        self._file.write(self._room.to_bytes(8, "little") + b" " * self._room)
        self._header: dict[str, object] = {"__metadata__": {"format": "pt"}}
        self._offset = 0

    def add(self, name: str, tensor: Tensor) -> None:
        """Write a tensor.

        Raises:
            OSError: it cannot be written.
        """
        data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        end = self._offset + data.nbytes
        self._header[name] = {
            "dtype": _DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [self._offset, end],
        }
        self._file.write(data.data)
        self._offset = end

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._file:
            if kind is None:
                header = json.dumps(self._header, separators=(",", ":")).encode()
                assert len(header) <= self._room
                self._file.seek(8)
                self._file.write(header)

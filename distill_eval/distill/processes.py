"""Several processes that train one student together, as `accelerate launch` and torchrun start them."""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import NamedTuple, TypeVar

import torch.distributed
from accelerate import PartialState
from torch import Tensor

T = TypeVar("T")


class Processes(NamedTuple):
    """This process among its peers; alone it waits for nobody and sums nothing."""

    number: int = 0
    num_processes: int = 1
    device: str = "cpu"

    @property
    def is_main(self) -> bool:
        """Whether this is the one that writes and speaks."""
        return self.number == 0

    def wait(self) -> None:
        """Return when all processes have come here."""
        if self.num_processes > 1:
            torch.distributed.barrier()

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """The others enter when the main process has left."""
        if not self.is_main:
            self.wait()
        yield
        if self.is_main:
            self.wait()

    def share(self, items: Iterable[T]) -> Iterator[T]:
        """Every so many-th item, so that all processes together have each item once."""
        return islice(items, self.number, None, self.num_processes)

    def total(self, value: Tensor) -> float:
        """The sum of the processes' values."""
        if self.num_processes == 1:
            return float(value)
        everybodys = value.detach().to(self.device, copy=True)
        torch.distributed.all_reduce(everybodys)
        return float(everybodys)


@contextmanager
def joined(device: str) -> Iterator[Processes]:
    """This process's place among those that were started together.

    The group that this begins ends with the process: accelerate joins one only once.

    Args:
        device: `cpu` or `cuda`; of several GPUs each process gets its own as the current one.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Processes(device=device)
        return
    if not torch.distributed.is_initialized():
        atexit.register(_leave)
    state = PartialState(cpu=device == "cpu")
    yield Processes(state.process_index, state.num_processes, device)


def _leave() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()

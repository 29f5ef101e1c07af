"""Tensors on their way between host and GPU, without either waiting for the other."""

from collections.abc import Sequence

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """The same numbers on a device. A copy to a GPU is only queued, from memory that stays put."""
    if device.type != "cuda" or tensor.is_cuda:
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


class AsyncScalars:
    """Scalars that a GPU may still have to compute, on their way to the host."""

    def __init__(self, scalars: Sequence[Tensor]):
        found = torch.stack([one.detach() for one in scalars])
        self.arrived = torch.cuda.Event() if found.is_cuda else None
        if self.arrived is None:
            self.values = found
            return
        # .item() would wait for all that was queued since, and not only for these
        self.values = torch.empty(found.shape, dtype=found.dtype, pin_memory=True)
        self.values.copy_(found, non_blocking=True)
        self.arrived.record()

    def read(self) -> list[float]:
        """The numbers; waits until they have arrived."""
        if self.arrived is not None:
            self.arrived.synchronize()
        return self.values.tolist()

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
        stacked = torch.stack([scalar.detach() for scalar in scalars])
        self.arrived = torch.cuda.Event() if stacked.is_cuda else None
        if self.arrived is None:
            self.values = stacked
            return
        # .item() would wait for all that was queued since, and not only for these
        self.values = torch.empty(stacked.shape, dtype=stacked.dtype, pin_memory=True)
        self.values.copy_(stacked, non_blocking=True)
        self.arrived.record()

    def read(self) -> list[float]:
        """The numbers; waits until they have arrived."""
        if self.arrived is not None:
            self.arrived.synchronize()
        return self.values.tolist()

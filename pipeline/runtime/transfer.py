"""Tensors on their way between host and GPU, without either waiting for the other."""

from collections.abc import Sequence

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """The same numbers on a device. A copy to a GPU is only queued, from memory that stays put."""
    if device.type != "cuda" or tensor.is_cuda:
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def to_host(tensor: Tensor) -> Tensor:
    """The same numbers on the host; those of a GPU are there after `arrival`."""
    if not tensor.is_cuda:
        return tensor
    target = torch.empty_like(tensor, device="cpu", pin_memory=True)
    return target.copy_(tensor, non_blocking=True)


def arrival(sent: Tensor) -> torch.cuda.Event | None:
    """The event after all that a tensor's GPU has queued by now; None on a CPU."""
    if not sent.is_cuda:
        return None
    event = torch.cuda.Event()
    event.record()
    return event


class AsyncScalars:
    """Scalars that a GPU may still have to compute, on their way to the host."""

    def __init__(self, scalars: Sequence[Tensor]):
        stacked = torch.stack([scalar.detach() for scalar in scalars])
        # .item() would wait for all that was queued since, and not only for these
        self.values, self.arrived = to_host(stacked), arrival(stacked)

    def read(self) -> list[float]:
        """The numbers; waits until they have arrived."""
        if self.arrived is not None:
            self.arrived.synchronize()
        return self.values.tolist()

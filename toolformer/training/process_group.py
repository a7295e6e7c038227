"""The processes that train one model together, seen from one of them.

Each holds a part of every weight, gradient and moment (FSDP2); a layer's weights are put together
while it computes. Gradients are added, never averaged: each row's is already its share of the whole
batch's loss. One process alone has nothing to agree on.
"""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed
from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

Result = TypeVar("Result")

# The others wait while the first one writes a checkpoint, however slow the disk is. Processes that
# die are noticed at once by other means.
_PATIENCE = timedelta(hours=2)
_TIME_TO_MEET = timedelta(seconds=60)


class ProcessGroup:
    """One process by itself, or one of several (`join_group`).

    Args:
        rank: number of this process, from 0.
        size: how many there are.
        device: kind of this process's device, such as `cuda`.
    """

    def __init__(self, rank: int = 0, size: int = 1, device: str = "cpu"):
        self.rank, self.size = rank, size
        self._device = device
        self._root: Any = None

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes and reports."""
        return self.rank == 0

    def divide(self, model: PreTrainedModel, precision: str) -> None:
        """Leave each process its part of the weights; called before an optimiser sees them."""
        if self.size == 1:
            return
        mesh = init_device_mesh(self._device, (self.size,))
        # The layers' weights travel as what autocast would make of them; gradients are added up,
        # and residuals kept, in float32, as in one process.
        policy = MixedPrecisionPolicy(
            param_dtype=torch.bfloat16 if precision == "bfloat16" else None,
            reduce_dtype=torch.float32,
            cast_forward_inputs=False,
        )
        names: Any = model._no_split_modules or ()
        for layer in [each for each in model.modules() if type(each).__name__ in names]:
            fully_shard(layer, mesh=mesh, mp_policy=policy)
        # Body and output layer are called one by one, and may share a weight: one root for both.
        self._root = _WholeModel(model)
        fully_shard(self._root, mesh=mesh)
        for module in self._root.modules():
            if isinstance(module, FSDPModule):
                module.set_gradient_divide_factor(1.0)
                # The only kind of reduction that gloo knows too.
                module.set_force_sum_reduction_for_comms(True)

    def with_weights(self, compute: Callable[[], Result]) -> Result:
        """Run a forward pass, in which the weights outside the layers are whole.

        All processes have to run as many.
        """
        if self.size == 1:
            return compute()
        result = self._root(compute)
        if not torch.is_grad_enabled():
            # No backward pass comes that would do it.
            self._root.reshard()
        return result

    def total(self, value: float) -> float:
        """The sum over the processes; the same number in all of them."""
        if self.size == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64)
        distributed.all_reduce(total)
        return total.item()

    def wait(self) -> None:
        """Wait until all processes have come here."""
        # A sum and not a barrier, which would go over the graphics devices.
        self.total(0.0)

    def whole(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """All tensors of a model whole, in the first process; all have to call it.

        Tensors of two names are one again.
        """
        if self.size == 1:
            return dict(tensors)
        gathered: dict[int, Tensor] = {}
        for tensor in tensors.values():
            if id(tensor) not in gathered:
                # One after the other, and away from the device: it does not hold them all.
                one = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
                gathered[id(tensor)] = one.detach().cpu() if self.is_first else one.new_empty(0)
        return {name: gathered[id(tensor)] for name, tensor in tensors.items()}


def join_group(rank: int, size: int, *, port: int, device: str) -> ProcessGroup:
    """Meet the other processes of this machine; each calls it once.

    Args:
        port: where the `TCPStore` of the process that started them listens.

    Raises:
        torch.distributed.DistError: the process that started them has ended.
    """
    store = TCPStore("localhost", port, is_master=False, timeout=_TIME_TO_MEET)
    kind = torch.device(device).type
    if kind == "cuda":
        torch.cuda.set_device(device)
    # What is planned and counted goes over the processor, also beside graphics devices.
    backend = "cpu:gloo,cuda:nccl" if kind == "cuda" else "gloo"
    distributed.init_process_group(
        backend, store=store, rank=rank, world_size=size, timeout=_PATIENCE
    )
    return ProcessGroup(rank, size, kind)


class _WholeModel(torch.nn.Module):
    """Runs what it is given, as its own forward pass."""

    def __init__(self, model: torch.nn.Module):
        super().__init__()
        self.model = model

    def forward(self, compute: Callable[[], Any]) -> Any:
        return compute()

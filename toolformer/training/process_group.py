"""Shards one model across several training processes (FSDP2) and lets them communicate.

Every process holds a shard of each weight, gradient and optimiser moment. A layer's full weights
are gathered only while the layer computes. Gradients are summed, not averaged, because each
micro-batch already contributes its share of the loss of the whole batch.
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

# Long, because all processes wait while the first one writes a checkpoint to a possibly slow disk.
# Dead processes need no timeout, since the parent process notices them at once.
_COLLECTIVE_TIMEOUT = timedelta(hours=2)
_CONNECT_TIMEOUT = timedelta(seconds=60)


class ProcessGroup:
    """Group of training processes as seen by one of them; `join_group` creates one of several."""

    def __init__(self, rank: int = 0, size: int = 1, device: str = "cpu"):
        self.rank, self.size = rank, size
        self._device = device
        self._root: Any = None

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def shard(self, model: PreTrainedModel, precision: str) -> None:
        """Shard the weights across the processes. Must precede the creation of the optimiser."""
        if self.size == 1:
            return
        mesh = init_device_mesh(self._device, (self.size,))
        # Layer weights are gathered in the precision to which autocast would convert them.
        # Gradients are summed and residuals kept in float32, as with a single process.
        policy = MixedPrecisionPolicy(
            param_dtype=torch.bfloat16 if precision == "bfloat16" else None,
            reduce_dtype=torch.float32,
            cast_forward_inputs=False,
        )
        names: Any = model._no_split_modules or ()
        for layer in [each for each in model.modules() if type(each).__name__ in names]:
            fully_shard(layer, mesh=mesh, mp_policy=policy)
        # The body and the output layer are called separately but may share a weight, so FSDP needs
        # a root module that contains both.
        self._root = _WholeModel(model)
        fully_shard(self._root, mesh=mesh)
        for module in self._root.modules():
            if isinstance(module, FSDPModule):
                module.set_gradient_divide_factor(1.0)
                # Gloo supports no other reduction.
                module.set_force_sum_reduction_for_comms(True)

    def with_full_weights(self, compute: Callable[[], Result]) -> Result:
        """Run a forward pass with the weights outside the layers gathered.

        All processes must run equally many forward passes.
        """
        if self.size == 1:
            return compute()
        result = self._root(compute)
        if not torch.is_grad_enabled():
            # Reshard explicitly, since no backward pass follows that would do it.
            self._root.reshard()
        return result

    def sum(self, value: float) -> float:
        if self.size == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64)
        distributed.all_reduce(total)
        return total.item()

    def wait(self) -> None:
        # A barrier would run on the GPUs; this sum runs on the CPU.
        self.sum(0.0)

    def gather(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the full tensors in the first process, and empty ones in the others.

        All processes must call this. Tied weights, which have two names, stay one tensor.
        """
        if self.size == 1:
            return dict(tensors)
        gathered: dict[int, Tensor] = {}
        for tensor in tensors.values():
            if id(tensor) not in gathered:
                # Move one tensor at a time to the CPU, since all may not fit on the device.
                one = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
                gathered[id(tensor)] = one.detach().cpu() if self.is_first else one.new_empty(0)
        return {name: gathered[id(tensor)] for name, tensor in tensors.items()}


def join_group(rank: int, size: int, *, port: int, device: str) -> ProcessGroup:
    """Join the process group of this machine through the parent's `TCPStore` at `port`."""
    store = TCPStore("localhost", port, is_master=False, timeout=_CONNECT_TIMEOUT)
    kind = torch.device(device).type
    if kind == "cuda":
        torch.cuda.set_device(device)
    # CPU tensors, such as sums of losses, use Gloo even if the model is on GPUs.
    backend = "cpu:gloo,cuda:nccl" if kind == "cuda" else "gloo"
    distributed.init_process_group(
        backend, store=store, rank=rank, world_size=size, timeout=_COLLECTIVE_TIMEOUT
    )
    return ProcessGroup(rank, size, kind)


class _WholeModel(torch.nn.Module):
    """FSDP root whose forward pass runs a given function, so that FSDP gathers the weights."""

    def __init__(self, model: torch.nn.Module):
        super().__init__()
        self.model = model

    def forward(self, compute: Callable[[], Any]) -> Any:
        return compute()

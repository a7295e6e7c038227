"""The processes that train one model together, seen from one of them.

    one process        nothing to agree on
    data_parallel      each holds all weights; gradients are added up once a step
    fsdp               each holds a part of every weight, gradient and moment (FSDP2); a layer's
                       weights are put together while it computes

Gradients are added, never averaged: each row's is already its share of the whole batch's loss.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from toolformer.errors import TrainingError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

Result = TypeVar("Result")

# The others wait while the first one writes a checkpoint, however slow the disk is. Processes that
# die are noticed at once by other means.
_PATIENCE = timedelta(hours=2)
_TIME_TO_MEET = timedelta(seconds=60)


class ProcessGroup:
    """One process by itself, or several of which each holds all weights.

    Args:
        rank: number of this process, from 0; it has joined the others (`join_group`).
        size: how many there are.
    """

    # Whether all have to feed as often, because each feeding needs the others.
    feeds_together = False

    def __init__(self, rank: int = 0, size: int = 1):
        self.rank, self.size = rank, size

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes and reports."""
        return self.rank == 0

    def loading_device(self, device: str) -> str:
        """Where the model is loaded to before `divide` puts its weights in place."""
        return device

    def divide(self, model: "PreTrainedModel", precision: str) -> None:
        """Put the weights in place; called once, before an optimiser sees them.

        Raises:
            TrainingError: the model class has no layers that could be divided.
        """

    def with_weights(self, compute: Callable[[], Result]) -> Result:
        """Run a forward pass, in which the weights outside the layers are whole."""
        return compute()

    def add_up_gradients(self, weights: Sequence["torch.Tensor"]) -> None:
        """Let each process have the sum of all gradients."""
        import torch
        from torch import distributed

        if self.size == 1:
            return
        sums = []
        for weight in weights:
            if weight.grad is None:
                # This process had no row, or none that used the weight.
                weight.grad = torch.zeros_like(weight)
            sums.append(distributed.all_reduce(weight.grad, async_op=True))
        for pending in sums:
            pending.wait()

    def total(self, value: float) -> float:
        """The sum over the processes; the same number in all of them."""
        import torch
        from torch import distributed

        if self.size == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64)
        distributed.all_reduce(total)
        return total.item()

    def wait(self) -> None:
        """Wait until all processes have come here."""
        # A sum and not a barrier, which would go over the graphics devices.
        self.total(0.0)

    def whole(self, tensors: Mapping[str, "torch.Tensor"]) -> dict[str, "torch.Tensor"]:
        """All tensors of a model whole, in the first process; none in the others.

        All processes have to call it. Where nothing is divided these are the tensors themselves;
        else a tensor of two names is one again.
        """
        return dict(tensors) if self.is_first else {}


class FullySharded(ProcessGroup):
    """Processes of which each holds a part of every weight (FSDP2, `fully_shard`).

    Args:
        rank, size: as of `ProcessGroup`.
        device: kind of this process's device, such as `cuda`.
    """

    feeds_together = True

    def __init__(self, rank: int, size: int, device: str):
        super().__init__(rank, size)
        self._device = device
        self._root: Any = None

    def loading_device(self, device: str) -> str:  # noqa: ARG002
        """See `ProcessGroup`."""
        # A device need not hold the whole model: the parts are moved there one layer at a time.
        return "cpu"

    def divide(self, model: "PreTrainedModel", precision: str) -> None:
        """See `ProcessGroup`."""
        import torch
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

        layers = _layers(model)
        mesh = init_device_mesh(self._device, (self.size,))
        # The layers' weights travel as what autocast would make of them; gradients are added up,
        # and residuals kept, in float32, as in one process.
        policy = MixedPrecisionPolicy(
            param_dtype=torch.bfloat16 if precision == "bfloat16" else None,
            reduce_dtype=torch.float32,
            cast_forward_inputs=False,
        )
        for layer in layers:
            fully_shard(layer, mesh=mesh, mp_policy=policy)
        # Body and output layer are called one by one, and may share a weight: one root for both.
        self._root = _whole_model()(model)
        fully_shard(self._root, mesh=mesh)
        for module in self._root.modules():
            if isinstance(module, FSDPModule):
                module.set_gradient_divide_factor(1.0)
                # The only kind of reduction that gloo knows too.
                module.set_force_sum_reduction_for_comms(True)

    def with_weights(self, compute: Callable[[], Result]) -> Result:
        """See `ProcessGroup`."""
        import torch

        result = self._root(compute)
        if not torch.is_grad_enabled():
            # No backward pass comes that would do it.
            self._root.reshard()
        return result

    def add_up_gradients(self, weights: Sequence["torch.Tensor"]) -> None:
        """Nothing is left to do: each backward pass has added up its gradients."""

    def whole(self, tensors: Mapping[str, "torch.Tensor"]) -> dict[str, "torch.Tensor"]:
        """See `ProcessGroup`."""
        from torch.distributed.tensor import DTensor

        gathered: dict[int, torch.Tensor] = {}
        for tensor in tensors.values():
            if id(tensor) not in gathered:
                # One after the other, and away from the device: it does not hold them all.
                one = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
                gathered[id(tensor)] = one.detach().cpu() if self.is_first else one.new_empty(0)
        return super().whole({name: gathered[id(tensor)] for name, tensor in tensors.items()})


def join_group(rank: int, size: int, *, port: int, device: str) -> None:
    """Meet the other processes of this machine; each calls it once.

    Args:
        rank, size: as of `ProcessGroup`.
        port: where the `TCPStore` of the process that started them listens.
        device: device of this process.

    Raises:
        torch.distributed.DistError: the process that started them has ended.
    """
    from torch import distributed
    from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

    store = TCPStore("localhost", port, is_master=False, timeout=_TIME_TO_MEET)
    # What is planned and counted goes over the processor, also beside graphics devices.
    backend = "cpu:gloo,cuda:nccl" if device.startswith("cuda") else "gloo"
    distributed.init_process_group(
        backend, store=store, rank=rank, world_size=size, timeout=_PATIENCE
    )


def group_of(parallelism: str, device: str) -> ProcessGroup:
    """The processes that this one has joined, as a group."""
    import torch
    from torch import distributed

    if device.startswith("cuda"):
        torch.cuda.set_device(device)
    rank, size = distributed.get_rank(), distributed.get_world_size()
    if parallelism == "fsdp":
        return FullySharded(rank, size, torch.device(device).type)
    return ProcessGroup(rank, size)


def _layers(model: Any) -> list["torch.nn.Module"]:
    names = set(model._no_split_modules or ())
    layers = [module for module in model.modules() if type(module).__name__ in names]
    if not layers:
        raise TrainingError(
            f"The model class {type(model).__name__} names no layers, by which its weights could "
            "be divided. Set training.parallelism to data_parallel."
        )
    return layers


def _whole_model() -> type["torch.nn.Module"]:
    import torch

    class WholeModel(torch.nn.Module):
        """Runs what it is given, as its own forward pass."""

        def __init__(self, model: torch.nn.Module):
            super().__init__()
            self.model = model

        def forward(self, compute: Callable[[], Any]) -> Any:
            return compute()

    return WholeModel

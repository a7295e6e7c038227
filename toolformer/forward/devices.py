"""What a setting of a device stands for, and what every process calls a device."""

from toolformer.errors import DeviceError


def resolve_device(device: str) -> str:
    """`auto` becomes `cuda` where there is one, else `cpu`."""
    import torch

    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def devices_of(device: str) -> list[str]:
    """The devices that a setting leaves to choose from, best first.

    Example:
        >>> devices_of("cpu"), devices_of("cuda:1")
        (['cpu'], ['cuda:1'])
    """
    import torch

    resolved = resolve_device(device)
    if resolved == "cuda" and device == "auto" and torch.cuda.device_count() > 1:
        return [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    return [resolved]


def check_device(device: str) -> None:
    """Refuse a device that torch does not have on this machine.

    Raises:
        DeviceError: says which device, and why.

    Example:
        >>> check_device("cpu")
    """
    import torch

    try:
        torch.zeros(1, device=device).item()
    # Torch has no kind of error for it.
    except (RuntimeError, AssertionError, NotImplementedError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        count = torch.cuda.device_count()
        known = ", ".join(["auto", "cpu", *(f"cuda:{number}" for number in range(count))])
        raise DeviceError(
            f"language_model.device is {device!r}, which cannot be used here: {reason}. Expected "
            f"one of {known}."
        ) from error


def device_identity(device: str) -> str:
    """What a device is called by every process of the machine.

    A GPU has another number where `CUDA_VISIBLE_DEVICES` hides others, and the same UUID.

    Example:
        >>> device_identity("cpu")
        'cpu'
    """
    import torch

    if not device.startswith("cuda") or not torch.cuda.is_available():
        return device
    number = int(device.partition(":")[2] or 0)
    return f"cuda-{torch.cuda.get_device_properties(number).uuid}"

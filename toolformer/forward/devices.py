"""Resolves and checks the device setting, and identifies devices across processes."""

from toolformer.errors import DeviceError


def resolve_device(device: str) -> str:
    """Resolve `auto` to `cuda` if available, else to `cpu`."""
    import torch

    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def devices_of(device: str) -> list[str]:
    """Return the devices that a setting allows: all GPUs for `auto`, otherwise one device.

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
    """Raise `DeviceError` if torch cannot use a device on this machine.

    Example:
        >>> check_device("cpu")
    """
    import torch

    try:
        torch.zeros(1, device=device).item()
    # Torch has no error class for this case.
    except (RuntimeError, AssertionError, NotImplementedError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        count = torch.cuda.device_count()
        known = ", ".join(["auto", "cpu", *(f"cuda:{number}" for number in range(count))])
        raise DeviceError(
            f"language_model.device is {device!r}, which cannot be used on this machine: {reason}. "
            f"Expected one of {known}."
        ) from error


def device_identity(device: str) -> str:
    """Return a name that all processes share; GPU numbers depend on `CUDA_VISIBLE_DEVICES`.

    Example:
        >>> device_identity("cpu")
        'cpu'
    """
    import torch

    if not device.startswith("cuda") or not torch.cuda.is_available():
        return device
    number = int(device.partition(":")[2] or 0)
    return f"cuda-{torch.cuda.get_device_properties(number).uuid}"

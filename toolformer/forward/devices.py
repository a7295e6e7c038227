"""What a setting of a device stands for, and what every process calls a device."""


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

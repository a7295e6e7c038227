"""Defines the errors that the package raises on purpose, one class per kind of cause."""


class ToolformerError(Exception): ...


class ModelNotFoundError(ToolformerError, LookupError):
    """A path or name does not lead to a causal language model with weights and tokenizer."""


class OverflowingModelError(ModelNotFoundError):
    """The model's activations exceed the range of its precision."""


class ModelWriteError(ToolformerError, OSError): ...


class DeviceError(ToolformerError, ValueError): ...


class ServedModelError(ToolformerError, RuntimeError):
    """A server does not answer, or lacks a capability that the method needs."""


class ServerUnavailableError(ServedModelError):
    """The server is unreachable, or it rejects the API key."""


class TransientServerError(ServerUnavailableError):
    """The request failed, and a retry may succeed."""


class SequenceTooLongError(ToolformerError, ValueError):
    """Prompt, text and call together exceed the model's context."""


class ChatTemplateError(ToolformerError, ValueError): ...


class TrainingError(ToolformerError, ValueError):
    """There is nothing to train on, or training diverged."""


class DivergedError(TrainingError):
    """A training loss is not finite."""


class CheckpointError(ToolformerError, ValueError):
    """A checkpoint is damaged or was written for different inputs."""


class OutOfMemoryError(ToolformerError, MemoryError):
    """Even the smallest batch does not fit the device's memory."""


class ExportError(ToolformerError, ValueError): ...

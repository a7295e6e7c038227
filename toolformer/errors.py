"""Errors of the engine: one root, one class per kind of cause."""


class ToolformerError(Exception):
    """Root of all errors that the engine raises on purpose."""


class ModelNotFoundError(ToolformerError, LookupError):
    """The path or name does not lead to a causal language model with weights and tokenizer."""


class OverflowingModelError(ModelNotFoundError):
    """The model's activations are larger than its precision can hold."""


class ModelWriteError(ToolformerError, OSError):
    """A model cannot be written to disk."""


class DeviceError(ToolformerError, ValueError):
    """The device that was named cannot be used on this machine."""


class ServedModelError(ToolformerError, RuntimeError):
    """A server does not answer, or cannot do what the method asks of a model."""


class ServerUnavailableError(ServedModelError):
    """The server answers nobody, or nobody with this key, whatever is asked."""


class TransientServerError(ServerUnavailableError):
    """The server may answer if it is asked again."""


class SequenceTooLongError(ToolformerError, ValueError):
    """Prompt, call and text together do not fit the model's context."""


class ChatTemplateError(ToolformerError, ValueError):
    """A model's chat template does not write a conversation."""


class TrainingError(ToolformerError, ValueError):
    """There is nothing to train on, or training diverged."""


class DivergedError(TrainingError):
    """A loss of a training is not finite."""


class CheckpointError(ToolformerError, ValueError):
    """A stored intermediate result does not belong to the work at hand."""


class OutOfMemoryError(ToolformerError, MemoryError):
    """The device does not hold even the smallest batch."""


class ExportError(ToolformerError, ValueError):
    """There is nothing to export, or no place to export it to."""

"""Errors of the benchmarks.

Does not cover single rows that cannot be read: those are data (`benchmark.RejectedItem`).
"""

from toolformer.errors import ToolformerError


class BenchmarkFileError(ToolformerError, ValueError):
    """The file of a benchmark is unreadable, damaged, empty or of an unknown format."""


class BenchmarkNotFoundError(BenchmarkFileError, LookupError):
    """There is no such file or folder, or no such benchmark."""

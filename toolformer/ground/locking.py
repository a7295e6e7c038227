"""What a lock is to those who take one; it may be a file or a row of a database's lock table.

Does not make locks.
"""

from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Protocol


class Lock(Protocol):
    """Excludes all others, in this process and in any other, until it is released.

    One object is taken once at a time; the operating system or the database frees what a killed
    process held.
    """

    def acquire(self, timeout: float = -1) -> AbstractContextManager[Any]:
        """Take it, waiting so many seconds at most; below 0 for ever.

        Returns:
            A context that releases it at its end.

        Raises:
            filelock.Timeout: somebody else has it still.
        """
        ...

    def release(self) -> None:
        """Let the next one have it; nothing happens where it is not held."""
        ...

    def regain(self) -> bool:
        """Take it again where it was lost meanwhile, as with the connection to a database.

        To be asked before something is published: after a loss another process may have had it.

        Returns:
            Whether it was lost, so that what it guards has to be looked at again.
        """
        ...

    def __enter__(self) -> object: ...

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...

"""Numbers of lockers, which nobody can know or guess without asking: for a benchmark alone.

Not in the registry: no setting can name it, so no calls of it are sampled or trained on.
"""

from toolformer.files.digests import number_digest
from tools.base import Tool
from tools.protocol import Document


class Locker(Tool):
    """Tells the number of a person's locker; every text counts as a person's name.

    Args:
        seed: With another one everybody has another locker.
    """

    name = "Locker"
    description = "Tells the number of a person's locker."

    def __init__(self, *, seed: int) -> None:
        self.version = f"1 seed={seed}"
        self._seed = seed

    def call(self, arguments: str, document: Document) -> str:  # noqa: ARG002
        """Tell a number that follows from name and seed alone.

        Returns:
            Four digits. The first is not 0, which would be lost where numbers are compared.

        Example:
            >>> Locker(seed=0).call("Clara Mason", Document("a", ""))
            '7856'
        """
        return str(1000 + number_digest(self.name, self._seed, arguments) % 9000)

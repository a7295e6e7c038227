"""The search indexes that the tools of a run need, and which of them are to be built first."""

from collections.abc import Collection
from dataclasses import dataclass

from assets.passage_vectors import passage_index_fingerprint
from assets.search_index import dump_files, wikipedia_index_fingerprint
from toolformer.home.expected_errors import EXPECTED_ERRORS
from toolformer.home.fingerprints import FINGERPRINT
from toolformer.home.home import Home
from toolformer.home.settings.sections import Settings
from toolformer.home.wiring.retriever import PASSAGE_INDEX, WIKIPEDIA_INDEX, tools_searching
from tools.retrieval.passage_index import passage_index_information
from tools.retrieval.wikipedia_index import index_information

MISSING, OUT_OF_DATE = "missing", "out of date"


@dataclass(frozen=True, slots=True)
class PlannedIndex:
    """An index that is built before the shards.

    Attributes:
        reason: `missing` or `out of date`.
        can_be_built: whether its dump and encoder can be read.
    """

    asset: str
    reason: str
    can_be_built: bool

    @property
    def name(self) -> str:
        """What a person calls it."""
        return "Wikipedia index" if self.asset == WIKIPEDIA_INDEX else "passage index"


def indexes_of(tools: Collection[str], settings: Settings) -> list[str]:
    """The assets of the indexes that the named, or else the enabled tools search."""
    indexes = (WIKIPEDIA_INDEX, PASSAGE_INDEX)
    return [index for index in indexes if tools_searching(index, settings, tools)]


def planned_indexes(tools: Collection[str], settings: Settings, home: Home) -> list[PlannedIndex]:
    """The indexes of a run that are missing or out of date; the arguments as of `indexes_of`."""
    planned = []
    for asset in indexes_of(tools, settings):
        if asset == WIKIPEDIA_INDEX:
            information = index_information(home.wikipedia_index)
            fingerprint_of = wikipedia_index_fingerprint
        else:
            information = passage_index_information(home.passage_index)
            fingerprint_of = passage_index_fingerprint
        try:
            fingerprint = fingerprint_of(settings, dump_files(settings)).digest
        except EXPECTED_ERRORS:
            # One that is there stays as it is.
            if information is None:
                planned.append(PlannedIndex(asset, MISSING, can_be_built=False))
            continue
        if information is None:
            planned.append(PlannedIndex(asset, MISSING, can_be_built=True))
        elif information[FINGERPRINT] != fingerprint:
            planned.append(PlannedIndex(asset, OUT_OF_DATE, can_be_built=True))
    return planned

"""A replay (`execution.replay`): the `executed_calls` of a home answer, and no tool is asked.

A replayed tool stands in for the tool with the version that answered, so that what is made with it
has the fingerprints that it had.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from toolformer_home.fingerprints import FINGERPRINT, PARTS
from toolformer_home.home import Home
from toolformer_home.settings.sections import Settings
from tools.base import Tool
from tools.errors import MissingAnswerError, ReplayError, ToolUnavailableError
from tools.protocol import Document, Preselection, Proposal
from warehouse.layout import name_in_round
from warehouse.schema import ALL
from warehouse.warehouse import Warehouse

# Of the section `execution`: what a result depends on.
_SETTINGS_OF_RESULTS = (
    *("deadline_seconds", "max_result_tokens", "leak_share"),
    "allows_peeking",
)
# Of a call all that its answer may depend on.
_CALL = (
    *("arguments", "character_offset"),
    *("document_id", "text", "url", "title", "published_on"),
)
_REMEDY = "take execution.replay out of the settings"


class ReplayedTool(Tool):
    """What a tool answered in the home of `execution.replay`, and what it does before it is called.

    Args:
        settings, name: of the run and the tool.
        open_original: makes the tool itself, which need not be able to answer: it says what a call
            is where calls are sampled, and is never called.
        while_decoding: whether a model calls it, and not a build.

    Raises:
        ReplayError: there is no such home, it is not built to the end, or its answers were given
            under other settings.
        ToolUnavailableError: it has no answers of the tool.
    """

    def __init__(
        self,
        settings: Settings,
        name: str,
        *,
        open_original: Callable[[], Tool],
        while_decoding: bool = False,
    ) -> None:
        home = Home(Path(settings.execution.replay or ""))
        if not home.warehouse.is_dir():
            raise ReplayError(
                f"execution.replay is '{home.root}', which is no home: it has no folder "
                "`warehouse`. Expected the TOOLFORMER_HOME of a finished build; correct the path."
            )
        self.name = name
        self.description = f"Answers as it did in '{home.root}'."
        self._root = home.root
        self._round = settings.sampling.round
        self._open_original = open_original
        self._warehouse = Warehouse(home.warehouse, home.database)
        samples = self._parts("candidate_calls")
        answers = self._parts("executed_calls")
        for setting in _SETTINGS_OF_RESULTS:
            now = getattr(settings.execution, setting)
            then = self._common(f"execution.{setting}", answers)
            if now != then:
                raise ReplayError(
                    f"execution.{setting} is {now!r}, and was {then!r} when {name} answered in "
                    f"'{home.root}'. In a replay no tool is asked: set it back, or {_REMEDY}."
                )
        self.version = self._common("tool_version", answers)
        self.sampling_version = self._common("tool_version", samples)
        if while_decoding and name == "Calendar":
            # Another one than in a build, since it takes its date from elsewhere.
            self.version = open_original().version
        proposals = self._common("proposals", samples)
        self._makes_proposals = proposals is not None
        self.proposals_version = proposals[1] if proposals else self.sampling_version
        digest = self._common("prompt", samples)
        # None where calls were sampled without one.
        self.prompt = (
            digest and self._warehouse.read_partition("prompts", ALL, digest)["text"].item()
        )

    def recorded(self, calls: Sequence[tuple[str, Document, int]]) -> list[dict[str, Any]]:
        """What `executed_calls` says of the results of calls, by column.

        Args:
            calls: of each the arguments, its text, and the character of the text that it stands at.

        Raises:
            MissingAnswerError: the home lacks one.
        """
        ids = sorted({document.document_id for _, document, _ in calls})
        rows = self._warehouse.ask(
            "replayed_answers",
            shards=set(self._warehouse.ask("shards_of_documents", document_ids=ids)["shard"]),
            tool=self.name,
            round=self._round,
            document_ids=ids,
        )
        answers: dict[tuple[object, ...], dict[str, Any]] = {}
        for row in rows.iter_rows(named=True):
            key = tuple(row.pop(column) for column in _CALL)
            answers.setdefault(key, {**row, "duration_ms": 0.0, "from_cache": True})
        missing = [call for call in calls if _key(*call) not in answers]
        if missing:
            arguments, document, _ = missing[0]
            more = f", nor to {len(missing) - 1} other calls" if len(missing) > 1 else ""
            raise self._missing(
                f"'{self._root}' has none to {self.name}({arguments}) in the text that begins "
                f"{document.text[:40]!r}{more}"
            )
        return [answers[_key(*call)] for call in calls]

    def call(self, arguments: str, document: Document) -> str:  # noqa: ARG002
        """Raise MissingAnswerError: what a model calls while it writes was asked in no build."""
        raise self._missing("only calls of a build are replayed")

    def parse_arguments(self, text: str) -> str:
        """See `Tool.parse_arguments`."""
        return self._original.parse_arguments(text)

    def preselect(self, document: Document) -> Preselection:
        """See `Tool.preselect`."""
        return self._original.preselect(document)

    def proposals(self, document: Document) -> Sequence[Proposal]:
        """See `Tool.proposals`."""
        return self._original.proposals(document)

    def check_place(self, arguments: str, *, before: str, after: str) -> None:
        """See `Tool.check_place`."""
        self._original.check_place(arguments, before=before, after=after)

    @property
    def makes_proposals(self) -> bool:
        """Whether it made proposals when its calls were sampled."""
        return self._makes_proposals

    @property
    def takes_arguments(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """See `Tool.takes_arguments`."""
        return self._original.takes_arguments

    @cached_property
    def _original(self) -> Tool:
        original = self._open_original()
        version = original.sampling_version or original.version
        if version != self.sampling_version:
            raise ReplayError(
                f"{self.name} samples calls by another rule ({version!r}) than when "
                f"'{self._root}' was built ({self.sampling_version!r}). Take the version of its "
                f"code that was used then, or {_REMEDY}."
            )
        return original

    def _parts(self, table: str) -> list[dict[str, str]]:
        """What each of the tool's partitions of a table was made of."""
        name = name_in_round(self._round, self.name)
        metadata = [
            self._warehouse.partition_metadata(table, info.shard, name) or {}
            for info in self._warehouse.partitions(table)
            if info.name == name
        ]
        if not metadata:
            raise ToolUnavailableError(
                self.name,
                f"'{self._root}' has none of its {table} of round {self._round}, and in a "
                "replay no tool is asked",
                f"Build that home with this tool, or {_REMEDY}",
            )
        return [json.loads(row.get(PARTS, "{}")) for row in metadata if FINGERPRINT in row]

    def _common(self, part: str, partitions: Sequence[Mapping[str, str]]) -> Any:
        """What all partitions were made of by one name."""
        values = {parts.get(part, "null") for parts in partitions}
        if len(values) != 1:
            raise ReplayError(
                f"'{self._root}' (execution.replay) is not built to its end: of {self.name}, its "
                f"shards differ in {part}. Run `toolformer build` there, or copy a finished home."
            )
        return json.loads(values.pop())

    def _missing(self, why: str) -> MissingAnswerError:
        return MissingAnswerError(
            self.name,
            f"{why}, and in a replay no tool is asked",
            f"Replay with the texts, model and settings of that build, or {_REMEDY}",
        )


def _key(arguments: str, document: Document, offset: int) -> tuple[object, ...]:
    """The columns of `_CALL`; DuckDB gives dates as text."""
    date = document.published_on and document.published_on.isoformat()
    text = (document.document_id, document.text, document.url, document.title, date)
    return (arguments, offset, *text)

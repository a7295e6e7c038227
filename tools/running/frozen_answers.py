"""The answers of a build's tools as one Parquet file, from which a replay answers alone.

    rows      tool, round, arguments, text and place of a call  ->  its result, or why there is none
    footer    JSON: what a run asks of each tool besides answers, and the settings it answered under

Anything that reads Parquet shows the rows. Does not know where they come from, and calls no tool.
"""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from toolformer.ground.digests import hex_digest
from tools.errors import FrozenAnswersError
from tools.protocol import Document

if TYPE_CHECKING:
    import pyarrow as pa

_KEY = b"toolformer.frozen_answers"
_FORM = 1

# Arguments, digest of the text, and the character of the text that the call stands at.
AnsweredPlace: TypeAlias = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class FrozenRecord:
    """A tool in a round of annotation, without its code.

    Attributes:
        name: As written in calls.
        round: Of annotation.
        version: Of the tool that answered.
        version_while_decoding: That it had while a model calls it.
        sampling_version, proposals_version: As fingerprints of samples name them.
        makes_proposals, takes_arguments, description: See `tools.protocol.Tool`.
        prompt: Its own few-shot prompt; None where it lies in `tools/prompts`.
        parameters: From `tools.yours.frozen_parameters`; None for a tool with code of its own.
        settings: Name to value of the settings that answers depend on.
    """

    name: str
    round: int
    version: str
    version_while_decoding: str
    sampling_version: str
    proposals_version: str
    makes_proposals: bool
    takes_arguments: bool
    description: str
    prompt: str | None
    parameters: list[dict[str, Any]] | None
    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class FrozenAnswer:
    """What became of one call.

    Attributes:
        result: Cut to its length; None where there is none.
        reason: Why there is none.
        repeated_before, repeated_after, message: See `executed_calls` in `warehouse/schema.sql`.
    """

    result: str | None
    reason: str | None
    repeated_before: float | None
    repeated_after: float | None
    message: str | None = None

    @property
    def is_leak(self) -> bool:
        """Whether there was a result, which the place of the call made one that is not stored."""
        return self.result is None and self.repeated_after is not None


class FrozenAnswers:
    """A file of answers. Only its footer is kept in memory.

    Args:
        file: Written by `write_frozen_answers`.

    Raises:
        FrozenAnswersError: It is not there, is damaged, or is something else.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.records = _read_records(file)

    def record(self, tool_name: str, round_number: int) -> FrozenRecord | None:
        """What the file says of a tool in a round; None where it has none of its answers."""
        for record in self.records:
            if (record.name, record.round) == (tool_name, round_number):
                return record
        return None

    def find(
        self, record: FrozenRecord, documents: Collection[str]
    ) -> dict[AnsweredPlace, FrozenAnswer]:
        """The answers that a tool gave in some texts.

        Args:
            record: Of the tool.
            documents: Digests of the texts, from `document_digest`.

        Raises:
            FrozenAnswersError: The file is damaged, or was taken away.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not documents:
            return {}
        wanted = [
            ("tool", "=", record.name),
            ("round", "=", record.round),
            ("tool_version", "=", record.version),
            ("document", "in", sorted(documents)),
        ]
        try:
            rows = pq.read_table(self.file, filters=wanted, page_checksum_verification=True)
        except (OSError, pa.ArrowException) as error:
            raise _unreadable(self.file, str(error)) from error
        found: dict[AnsweredPlace, FrozenAnswer] = {}
        for row in rows.to_pylist():
            place = (row["arguments"], row["document"], row["character_offset"])
            answer = FrozenAnswer(**{name: row[name] for name in FrozenAnswer.__slots__})
            # The same call may have been made twice and have failed once.
            if place not in found or found[place].result is None:
                found[place] = answer
        return found


def document_digest(document: Document) -> str:
    """A digest of all that a tool may know about the text of a call, but for its id.

    Args:
        document: The text.

    Example:
        >>> document_digest(Document("a", "text")) == document_digest(Document("b", "text"))
        True
        >>> document_digest(Document("a", "text")) == document_digest(Document("a", "text", "u"))
        False
    """
    known = [document.text, document.url, document.title, str(document.published_on or "")]
    return hex_digest(json.dumps(known))


def write_frozen_answers(
    file: Path, records: Iterable[FrozenRecord], rows: Iterable["pa.Table"]
) -> None:
    """Write a file of answers.

    Args:
        file: Where to.
        records: Of the tools.
        rows: Tables with the columns of `frozen_schema`, one after the other.

    Raises:
        OSError: It cannot be written.
    """
    import pyarrow.parquet as pq

    footer = {"form": _FORM, "tools": [asdict(record) for record in records]}
    schema = frozen_schema().with_metadata({_KEY: json.dumps(footer).encode()})
    with pq.ParquetWriter(file, schema, compression="zstd", write_page_checksum=True) as writer:
        for table in rows:
            writer.write_table(table.select(schema.names).cast(schema))


def frozen_schema() -> "pa.Schema":
    """The columns of the rows.

    Returns:
        `document` is the digest of the text of the call, `character_offset` its place in it; the
        others are as in `executed_calls`.
    """
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("tool", pa.string(), nullable=False),
            pa.field("round", pa.int32(), nullable=False),
            pa.field("tool_version", pa.string(), nullable=False),
            pa.field("arguments", pa.string(), nullable=False),
            pa.field("document", pa.string(), nullable=False),
            pa.field("character_offset", pa.int64(), nullable=False),
            pa.field("result", pa.string()),
            pa.field("reason", pa.string()),
            pa.field("repeated_before", pa.float64()),
            pa.field("repeated_after", pa.float64()),
            pa.field("message", pa.string()),
        ]
    )


def _read_records(file: Path) -> list[FrozenRecord]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(file)
    except FileNotFoundError as error:
        raise FrozenAnswersError(
            f"There is no file '{file}' with the answers of tools (execution.replay). Correct the "
            "path, or make one with `toolformer tools freeze`."
        ) from error
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(file, str(error)) from error
    footer = (schema.metadata or {}).get(_KEY)
    if footer is None:
        raise _unreadable(file, "it is another Parquet file")
    try:
        told = json.loads(footer)
        if told["form"] != _FORM:
            raise FrozenAnswersError(
                f"'{file}' has the form {told['form']!r}, and this release reads {_FORM}. Use the "
                "release that wrote it, or freeze the answers again."
            )
        records = [FrozenRecord(**record) for record in told["tools"]]
    except (ValueError, TypeError, KeyError) as error:
        if isinstance(error, FrozenAnswersError):
            raise
        raise _unreadable(file, f"its footer is not as it was written: {error}") from error
    if not schema.remove_metadata().equals(frozen_schema()):
        raise _unreadable(file, "its columns are not as they were written")
    return records


def _unreadable(file: Path, why: str) -> FrozenAnswersError:
    return FrozenAnswersError(
        f"'{file}' cannot be read as the answers of tools ({why}). Expected a whole file of "
        "`toolformer tools freeze` in execution.replay; copy it again, or freeze again."
    )

"""Looks facts up in a user's table.

    tools:
      Facts:
        class: tools.plugins.table_tool:TableTool
        options: {table: facts.csv, key: [subject, relation], values: [object]}

A call names a subject and a relation: `Facts(Barack Obama, place of birth)`. The relation is a
value of the second key column, or the name of one of several value columns. If there is one key
column and one value column, a call has only the subject.
"""

import itertools
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated

from pydantic import Field

from toolformer.base.digests import hex_digest
from tools.base import Tool, with_checked_settings
from tools.errors import CallSyntaxError, ToolCallError, ToolSettingsError
from tools.plugins.table_index import MAX_FACTS, TableIndex
from tools.plugins.table_names import folded
from tools.plugins.table_proposals import propose_lookups
from tools.plugins.table_rows import MISSING, Table, spoken
from tools.prompting import MIN_EXAMPLES, draft_prompt
from tools.protocol import Document, Preselection, Proposal
from tools.syntax import clean_result, single_line

TABLE_TOOL = "tools.plugins.table_tool:TableTool"
"""Target of the tool in the settings."""

_MAX_ARGUMENT_CHARACTERS = 300
# Longest result of several values. Results longer than 64 tokens would be cut.
_MAX_JOINED_CHARACTERS = 200
# The first separator that no value contains is used.
_SEPARATORS = ("; ", " | ")
_MAX_SHOWN = 5
_EXAMPLES = 4
_FACTS_FOR_EXAMPLES = 1000

_Columns = Annotated[list[str], Field(min_length=1)]


class TableTool(Tool):
    """Answers with the values that a table has for a subject.

    Values of several rows with the same key are joined in alphabetical order. Rows without a key or
    a value are ignored.

    Args:
        table: A CSV, TSV, JSONL or Parquet file, or a query for DuckDB that begins with `select`,
            `from` or `with`. A query runs each time the tool is made.
        key: Columns whose values a call names, the subject first.
        values: Columns with the answers; if there are several, a call names one.
        missing: Texts of missing values; by default those that common programs write.
        aliases: Other names of relations: `birthplace, born in = place of birth`.
        examples: Texts with calls, for the prompt; see `draft_prompt`. By default they are made
            from rows of the table.
        index_folder: Folder of the index; None for a temporary one, removed with the tool.
    """

    name = "TableTool"

    @with_checked_settings
    def __init__(
        self,
        name: str,
        table: str,
        key: _Columns,
        values: _Columns,
        *,
        description: str | None = None,
        missing: Sequence[str] = MISSING,
        aliases: Sequence[str] = (),
        examples: Sequence[str] = (),
        folder: str = ".",
        index_folder: str | None = None,
    ) -> None:
        self.name = name
        self.asks = len(key) + len(values) > 2
        if index_folder is None:
            index_folder = tempfile.mkdtemp(prefix="toolformer-table-")
            weakref.finalize(self, shutil.rmtree, index_folder, ignore_errors=True)
        try:
            read = Table(table, key, values, missing, folder)
            self.index = TableIndex(Path(index_folder), name, read)
        except ToolSettingsError as error:
            raise ToolSettingsError(f"{name}: {error}.") from error
        self._aliases = self._read_aliases(aliases)
        self.sampling_version = self.index.content
        self.version = f"{self.sampling_version} aliases={hex_digest(*aliases, size=8)}"
        asked = self._relations_text() if self.asks else f"{spoken(values[0])} by {spoken(key[0])}"
        self.description = description or f"Looks up {asked} in a table."
        shown = examples or self._examples()
        if shown:
            self.prompt = draft_prompt(name, self.description, shown)

    def parse_arguments(self, text: str) -> str:
        arguments = super().parse_arguments(single_line(text))
        if len(arguments) > _MAX_ARGUMENT_CHARACTERS:
            raise CallSyntaxError(
                "too_long",
                f"The arguments have {len(arguments):,} characters. Expected at most "
                f"{_MAX_ARGUMENT_CHARACTERS}.",
            )
        if self.asks and "," not in arguments:
            raise CallSyntaxError(
                "no_relation_given",
                f"The arguments {arguments!r} have no comma. Expected a subject, a comma and what "
                f"is asked. The table has {self._relations_text()}.",
            )
        return arguments

    def call(self, arguments: str, document: Document) -> str:  # noqa: ARG002
        name, relations = self._split(arguments)
        subject = self._subject(name)
        values = sorted(
            {value for relation in relations for value in self.index.values(subject, relation)}
        )
        if not values:
            raise ToolCallError(
                "no_value",
                f"The table has no {relations[0]} of {subject!r}; it has "
                f"{_listed({fact.relation: None for fact in self.index.facts_of(subject)})}.",
            )
        return _joined(values)

    def preselect(self, document: Document) -> Preselection:
        follows = bool(self.proposals(document))
        return Preselection(follows, "value_follows" if follows else "no_value_follows")

    def proposals(self, document: Document) -> Sequence[Proposal]:
        return propose_lookups(document.text, self.index)

    def cache_key(self, document: Document) -> None:
        """Return None: an answer costs less to look up than to cache."""

    def _split(self, arguments: str) -> tuple[str, Sequence[str]]:
        """Split arguments into the subject, which may contain commas, and matching relations."""
        if not self.asks:
            return arguments, [""]
        asked = ""
        name, comma, rest = arguments.rpartition(",")
        while comma:
            asked = f"{rest},{asked}" if asked else rest
            relation = folded(asked)
            found = self.index.relations(self._aliases.get(relation, relation))
            if found:
                return name.strip(), found
            name, comma, rest = name.rpartition(",")
        last = arguments.rpartition(",")[2].strip()
        raise ToolCallError(
            "no_relation", f"The table has no {last!r}. Expected {self._relations_text()}."
        )

    def _subject(self, name: str) -> str:
        """Return the only subject with a name; an ambiguous name is an error, not a guess."""
        key = folded(name)
        subjects = self.index.subjects(key)
        if name in subjects:
            return name
        # All names that consist only of punctuation fold to the same empty key.
        if not subjects or not key:
            raise ToolCallError("not_found", f"The table has no {name!r}.")
        if len(subjects) > 1:
            raise ToolCallError(
                "ambiguous", f"{name!r} may be {_listed(subjects)}. Expected one of these names."
            )
        return subjects[0]

    def _read_aliases(self, aliases: Sequence[str]) -> Mapping[str, str]:
        read: dict[str, str] = {}
        for line in aliases:
            names, _, relation = line.rpartition("=")
            asked = folded(relation)
            for name in map(folded, names.split(",")):
                is_other = self.index.relations(name) or read.get(name, asked) != asked
                if not name or is_other or not self.index.relations(asked):
                    raise ToolSettingsError(
                        f"{self.name}: the alias {line!r} cannot be used. Expected "
                        "'name, other name = relation' with a relation of the table, such as "
                        f"{self._relations_text()}, and names that no other relation has."
                    )
                read[name] = asked
        return read

    def _relations_text(self) -> str:
        return _listed(self.index.first_relations(_MAX_SHOWN + 1))

    def _examples(self) -> list[str]:
        examples: dict[str, str] = {}
        for fact in self.index.first_facts(_FACTS_FOR_EXAMPLES):
            arguments = f"{fact.subject}, {fact.relation}" if self.asks else fact.subject
            with suppress(CallSyntaxError, ToolCallError):
                answer = self.call(self.parse_arguments(arguments), Document("", ""))
                if (arguments, answer) == (clean_result(arguments), clean_result(answer)):
                    asked = f"The {fact.relation} of {fact.subject}" if self.asks else fact.subject
                    text = f"{asked} is [{self.name}({arguments})] {answer}."
                    examples.setdefault(fact.subject, text)
            if len(examples) == _EXAMPLES:
                break
        few = itertools.cycle(examples.values())
        return list(itertools.islice(few, max(len(examples), MIN_EXAMPLES)))


def _joined(values: Sequence[str]) -> str:
    if len(values) == 1:
        return values[0]
    fitting = (mark for mark in _SEPARATORS if not any(mark.strip() in each for each in values))
    separator = next(fitting, None)
    if separator is not None:
        answer = separator.join(values)
        if len(answer) <= _MAX_JOINED_CHARACTERS:
            return answer
    count = len(values) if len(values) < MAX_FACTS else f"{MAX_FACTS} or more"
    raise ToolCallError(
        "too_many_values",
        f"The table has {count} values, which do not fit in a result: {_listed(values)}.",
    )


def _listed(names: Iterable[str]) -> str:
    shown = list(itertools.islice(names, _MAX_SHOWN + 1))
    return ", ".join(shown[:_MAX_SHOWN]) + (" and others" if len(shown) > _MAX_SHOWN else "")

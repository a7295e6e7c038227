"""A tool that looks facts up in a table of the user's own.

    tools:
      Facts:
        class: tools.plugins.table_tool:TableTool
        options: {table: facts.csv, key: [subject, relation], values: [object]}

A call names a subject, and what is asked of it: `Facts(Barack Obama, place of birth)`. That is a
value of the second key column, or one of several value columns. With one column of each a call has
the subject alone.
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
"""What the settings name it by."""

_LONGEST_ARGUMENTS = 300
# Of several values together, in characters: with 64 tokens a result is cut.
_LONGEST_JOINED = 200
# Between several values; the first that none of them holds.
_SEPARATORS = ("; ", " | ")
_SHOWN = 5
_EXAMPLES = 4
_FACTS_FOR_EXAMPLES = 1000

_Columns = Annotated[list[str], Field(min_length=1)]


class TableTool(Tool):
    """Answers with the values that a table has for a subject.

    Several rows with one key are several values, which are joined in alphabetical order. Rows
    without a key or a value say nothing.

    Args:
        name: As written in calls; given by the registry.
        table: A CSV, TSV, JSONL or Parquet file, or a query of DuckDB that begins with `select`,
            `from` or `with`; a query runs whenever the tool is made.
        key: The columns that a call names, that of the subject first.
        values: The columns with the answers; of several a call names one.
        description: One sentence for people and for the prompt.
        missing: Texts that stand for no value; by default those that programs write for one.
        aliases: Other names of what is asked: `birthplace, born in = place of birth`.
        examples: Texts with calls in them, for the prompt; see `draft_prompt`. By default they are
            made of rows of the table.
        folder: Where relative paths begin.
        index_folder: Where the index is kept; None for a folder that goes when the tool does.

    Raises:
        ToolSettingsError: When a setting or the table cannot be used.
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
        """Put the arguments on one line; see `Tool.parse_arguments`.

        Raises:
            CallSyntaxError: Also with reason `too_long`, or `no_relation_given` where there is no
                comma and the call needs one.
        """
        arguments = super().parse_arguments(single_line(text))
        if len(arguments) > _LONGEST_ARGUMENTS:
            raise CallSyntaxError(
                "too_long",
                f"Expected at most {_LONGEST_ARGUMENTS} characters and not {len(arguments)}.",
            )
        if self.asks and "," not in arguments:
            raise CallSyntaxError(
                "no_relation_given",
                f"Expected a subject, a comma and what is asked, not {arguments!r}. The table has "
                f"{self._relations_text()}.",
            )
        return arguments

    def call(self, arguments: str, document: Document) -> str:  # noqa: ARG002
        """Look the values of a key up.

        Raises:
            ToolCallError: With reason `no_relation`, `not_found`, `ambiguous`, `no_value` or
                `too_many_values`.
        """
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
        """Take the texts in which a value follows its subject: no call helps in others."""
        follows = bool(self.proposals(document))
        return Preselection(follows, "value_follows" if follows else "no_value_follows")

    def proposals(self, document: Document) -> Sequence[Proposal]:
        """Propose calls in front of values of subjects that the text has named."""
        return propose_lookups(document.text, self.index)

    def cache_key(self, document: Document) -> None:
        """Return None: an answer costs less to look up than to cache."""

    def _split(self, arguments: str) -> tuple[str, Sequence[str]]:
        """The subject, which may hold commas, and the relations that go by the name behind it."""
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
        """The one subject that goes by a name.

        Another's value is worse than none: a name that may be that of several is refused.
        """
        key = folded(name)
        subjects = self.index.subjects(key)
        if name in subjects:
            return name
        # A name of punctuation alone is like every other.
        if not subjects or not key:
            raise ToolCallError("not_found", f"The table has no {name!r}.")
        if len(subjects) > 1:
            raise ToolCallError(
                "ambiguous",
                f"{name!r} may be {_listed(subjects)}. Expected a name as the table has it.",
            )
        return subjects[0]

    def _read_aliases(self, aliases: Sequence[str]) -> Mapping[str, str]:
        """Folded names of relations by their folded aliases."""
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
                        f"{self._relations_text()}, and names that stand for no other."
                    )
                read[name] = asked
        return read

    def _relations_text(self) -> str:
        return _listed(self.index.first_relations(_SHOWN + 1))

    def _examples(self) -> list[str]:
        """Texts with calls, made of rows that can stand in them; none where there are none."""
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
        if len(answer) <= _LONGEST_JOINED:
            return answer
    count = len(values) if len(values) < MAX_FACTS else f"{MAX_FACTS} or more"
    raise ToolCallError(
        "too_many_values",
        f"The table has {count} values, which do not fit in a result: {_listed(values)}.",
    )


def _listed(names: Iterable[str]) -> str:
    """Some names in a message."""
    shown = list(itertools.islice(names, _SHOWN + 1))
    return ", ".join(shown[:_SHOWN]) + (" and others" if len(shown) > _SHOWN else "")

"""A tool that looks facts up in a table of the user's own.

    tools:
      Facts:
        class: tools.plugins.table_tool:TableTool
        options: {table: facts.csv, key: [subject, relation], values: [object]}

A call names a key, and the column where there are several: `Facts(Barack Obama, place of birth)`.
"""

import itertools
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from toolformer.files.digests import hex_digest, hex_digest_of_file
from tools.base import Tool
from tools.errors import CallSyntaxError, ToolCallError, ToolSettingsError
from tools.plugins.table_index import Fact, TableIndex, write_index
from tools.plugins.table_names import folded
from tools.plugins.table_proposals import propose_lookups
from tools.plugins.table_rows import TableReader, is_query
from tools.prompting import MIN_EXAMPLES, draft_prompt
from tools.protocol import Document, Preselection, Proposal
from tools.syntax import check_arguments, clean_result

TABLE_TOOL = "tools.plugins.table_tool:TableTool"
"""What the settings name it by."""
_LONGEST_ARGUMENTS = 300
_LONGEST_JOINED = 200
_SEPARATORS = ("; ", " | ")
_SHOWN = 5
_LOOKED_AT = 1000


class TableTool(Tool):
    """Answers with the values that a table has for a key.

    Args:
        name: As written in calls; given by the registry.
        table: A Parquet, CSV, TSV or JSONL file, or a query of DuckDB that begins with `select`,
            `from` or `with`; a query is run at each start.
        key: The columns that a call names, the subject first.
        values: The columns that hold answers; of several, a call names one.
        description: One sentence for people and for the prompt.
        aliases: Other names of relations or value columns: `birthplace, born in = place of birth`.
        examples: Texts with calls in them, for the prompt; by default made of rows of the table.
        folder: Where relative paths begin.
        index_folder: Where the index is kept; None for a folder that goes with the tool.

    Raises:
        ToolSettingsError: When a setting or the table cannot be used.
    """

    def __init__(
        self,
        name: str,
        table: str,
        key: Sequence[str],
        values: Sequence[str],
        *,
        description: str | None = None,
        aliases: Sequence[str] = (),
        examples: Sequence[str] = (),
        folder: str = ".",
        index_folder: str | None = None,
    ) -> None:
        for setting, texts in (
            ("key", key),
            ("values", values),
            ("aliases", aliases),
            ("examples", examples),
        ):
            if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
                raise ToolSettingsError(
                    f"{name}: {setting} is {texts!r}. Expected a list of texts in square brackets."
                )
        if not key or not values:
            raise ToolSettingsError(f"{name}: key and values need a column each.")
        self.name = name
        self.takes_relation = len(key) + len(values) > 2
        if index_folder is None:
            # Removed when the tool goes.
            self._folder = tempfile.TemporaryDirectory(prefix="table-")
            index_folder = self._folder.name
        try:
            self.index = _open_index(
                Path(index_folder) / f"{name}.sqlite", table, key, values, Path(folder)
            )
        except ToolSettingsError as error:
            raise ToolSettingsError(f"{name}: {error}.") from error
        self._aliases = self._read_aliases(aliases)
        content = f"1 key={list(key)} values={list(values)} table={self.index.about['digest']}"
        self.sampling_version = content
        self.version = f"{content} aliases={hex_digest(*aliases, size=8)}"
        self.description = description or (
            f"Looks up {self._relations_text()} in a table."
            if self.takes_relation
            else f"Looks up the {_spoken(values[0])} of a {_spoken(key[0])} in a table."
        )
        shown = list(examples) or list(itertools.islice(self._examples(), 4))
        if shown:
            self.prompt = draft_prompt(name, self.description, shown)

    def parse_arguments(self, text: str) -> str:
        """Collapse white space; where a relation is needed, refuse what has no comma.

        Raises:
            CallSyntaxError: Also with reason `no_relation_given` or `too_long`.
        """
        arguments = super().parse_arguments(text)
        if len(arguments) > _LONGEST_ARGUMENTS:
            raise CallSyntaxError(
                "too_long",
                f"Expected at most {_LONGEST_ARGUMENTS} characters, not {len(arguments)}.",
            )
        if self.takes_relation and "," not in arguments:
            raise CallSyntaxError(
                "no_relation_given",
                f"Expected a subject and what is asked of it, with a comma in between, not "
                f"{arguments!r}. The table has {self._relations_text()}.",
            )
        return arguments

    def call(self, arguments: str, document: Document) -> str:  # noqa: ARG002
        """Look the values of a key up.

        Raises:
            ToolCallError: With reason `not_found`, `ambiguous`, `no_relation`, `no_value` or
                `too_many_values`.
        """
        name, asked = self._split(arguments)
        facts = self._facts_of(name, asked)
        values = list(dict.fromkeys(fact.value for fact in facts))
        if not values:
            raise ToolCallError(
                "no_value", f"The table has no {self.index.relation(asked)} of {name!r}."
            )
        return _joined(values)

    def preselect(self, document: Document) -> Preselection:
        """Take the texts in which a value follows its subject: others gain nothing of a table."""
        has_value = bool(self.proposals(document))
        return Preselection(has_value, "value_follows" if has_value else "no_value_follows")

    def proposals(self, document: Document) -> Sequence[Proposal]:
        """Propose calls in front of values whose subject the text has named."""
        return propose_lookups(document.text, self.index)

    def _split(self, arguments: str) -> tuple[str, str]:
        """The subject, and the folded name of the relation."""
        if not self.takes_relation:
            return arguments, ""
        commas = [place for place, char in enumerate(arguments) if char == ","]
        for comma in reversed(commas):
            asked = folded(arguments[comma + 1 :])
            asked = self._aliases.get(asked, asked)
            if self.index.relation(asked) is not None:
                return arguments[:comma].strip(), asked
        relation = arguments[commas[-1] + 1 :].strip() if commas else arguments
        raise ToolCallError(
            "no_relation", f"The table has no {relation!r}. It has {self._relations_text()}."
        )

    def _facts_of(self, name: str, asked: str) -> list[Fact]:
        """The facts of the one subject that a name stands for."""
        key = folded(name)
        facts = self.index.facts(key)
        if not facts:
            near = self.index.near(key)
            if not near:
                raise ToolCallError("not_found", f"The table has no {name!r}.")
            facts = [fact for each in near for fact in self.index.facts(each)]
        subjects = list(dict.fromkeys(fact.subject for fact in facts))
        if name in subjects:
            subjects = [name]
        if len(subjects) > 1:
            raise ToolCallError(
                "ambiguous",
                f"{name!r} may be {_listed(subjects)}. Expected the name as the table has it.",
            )
        return [
            fact for fact in facts if fact.subject == subjects[0] and folded(fact.relation) == asked
        ]

    def _read_aliases(self, aliases: Sequence[str]) -> Mapping[str, str]:
        """Folded alias to the folded name of the relation."""
        read = {}
        for line in aliases:
            names, sign, relation = line.rpartition("=")
            asked = folded(relation)
            if not sign or self.index.relation(asked) is None:
                raise ToolSettingsError(
                    f"{self.name}: the alias {line!r} names no relation of the table. Expected "
                    f"'other name, other name = relation', with one of {self._relations_text()}."
                )
            read.update({folded(name): asked for name in names.split(",")})
        return read

    def _relations_text(self) -> str:
        return _listed(self.index.relations())

    def _examples(self) -> Iterator[str]:
        """Texts with calls, made of rows of the table that can stand in them."""
        usable = []
        for fact in self.index.some_facts(_LOOKED_AT):
            arguments = f"{fact.subject}, {fact.relation}" if fact.relation else fact.subject
            try:
                check_arguments(arguments)
                answer = self.call(self.parse_arguments(arguments), Document("", ""))
            except (CallSyntaxError, ToolCallError):
                continue
            if answer != clean_result(answer) or arguments != clean_result(arguments):
                continue
            head = f"The {fact.relation} of {fact.subject}" if fact.relation else fact.subject
            usable.append(f"{head} is [{self.name}({arguments})] {answer}.")
            if len(usable) == MIN_EXAMPLES + 1:
                break
        return itertools.cycle(usable)


def _open_index(
    file: Path, table: str, key: Sequence[str], values: Sequence[str], folder: Path
) -> TableIndex:
    """The index of a table, made anew where the file is that of another or cannot be read."""
    path = folder / table
    columns = [*key, *values]
    state: list[object] = [1, table, columns, len(key)]
    if not is_query(table):
        table = str(path)
    with_reader = TableReader(table, columns, folder=str(folder))
    try:
        if is_query(table):
            digest = ""
        else:
            status = path.stat()
            state += [str(path), status.st_size, status.st_mtime_ns, status.st_ctime_ns]
            digest = hex_digest_of_file(path)
        state.append(digest)
        try:
            index = TableIndex(file)
            if index.about.get("state") == state:
                return index
        except (sqlite3.Error, ValueError):
            pass
        facts = _facts(with_reader, len(key), values)
        write_index(file, facts, {"state": state, "digest": digest})
    finally:
        with_reader.close()
    return TableIndex(file)


def _facts(
    rows: TableReader, key_columns: int, values: Sequence[str]
) -> Iterator[tuple[str, str, str]]:
    """Subject, relation and value of each cell that has one."""
    for row in rows:
        key = row[:key_columns]
        if None in key:
            continue
        subject, *rest = (" ".join(str(part).split()) for part in key)
        for column, value in zip(values, row[key_columns:], strict=True):
            if value is not None:
                last = [_spoken(column)] if len(values) > 1 else []
                yield subject, ", ".join([*rest, *last]), value


def _spoken(column: str) -> str:
    return column.replace("_", " ")


def _joined(values: Sequence[str]) -> str:
    if len(values) == 1:
        return values[0]
    separator = next(
        (each for each in _SEPARATORS if not any(each.strip() in value for value in values)), None
    )
    answer = (separator or "").join(values)
    if separator is None or len(answer) > _LONGEST_JOINED:
        raise ToolCallError(
            "too_many_values", f"The table has {len(values)} values: {_listed(values)}."
        )
    return answer


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:_SHOWN]))
    return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown

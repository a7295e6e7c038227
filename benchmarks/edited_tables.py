"""Edits the facts in a tool's table that a benchmark asks for (the control of arXiv 2607.00605).

If a model really reads the table, it gives another answer after a value is changed, and no right
answer after the rows are deleted. Any other right answer is known, guessed, or from another row.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, Literal, NamedTuple

from toolformer.base.atomic_files import write_atomically
from toolformer.base.digests import number_digest
from toolformer.errors import ToolformerError
from toolformer.evaluation.benchmarks.benchmark import Benchmark, BenchmarkItem
from toolformer.home.home import Home
from toolformer.home.wiring.toolbox import Toolbox, open_toolbox, options_of
from toolformer.home.wiring.workspace import Workspace
from tools.plugins.table_index import Fact
from tools.plugins.table_names import folded
from tools.plugins.table_rows import Table
from tools.plugins.table_tool import TABLE_TOOL

Edit = Literal["changed", "deleted"]
_MAX_SUBJECT_WORDS = 12


class EditedTables(NamedTuple):
    """Tools that read edited tables, and the affected items by id, with their new answers."""

    tools: Toolbox
    items: Mapping[str, BenchmarkItem]


def edited_tables(
    work: Workspace,
    toolbox: Toolbox,
    benchmark: Benchmark,
    items: Sequence[BenchmarkItem],
    edit: Edit,
) -> EditedTables:
    """Edit the facts that questions ask for, in copies of the tables of a run's tools.

    A question asks for a fact if it names the subject and accepts the value as an answer. `changed`
    gives each such fact another value of its relation, which becomes the accepted answer. `deleted`
    removes all facts of the subject, for at most two thirds of the subjects, and keeps the accepted
    answers. Items whose facts are not edited are left out.
    """
    settings = work.settings
    named = [name for name in toolbox.tools if settings.tools.targets.get(name) == TABLE_TOOL]
    if not named:
        others = ", ".join(toolbox.tools) or "none"
        raise ToolformerError(
            f"No tool of this run looks up facts in a table (its tools: {others}). Expected one "
            f"with `class: {TABLE_TOOL}`. Add its section to toolformer.yaml."
        )
    asked: dict[str, BenchmarkItem] = {}
    sections = {}
    for name in named:
        options = options_of(work, name)
        read = {each.name: options[each.name] for each in fields(Table) if each.name in options}
        facts = [Fact(*row) for row in Table(**read).facts()]
        edited, of_table = _edited(facts, _facts_by_item(facts, benchmark, items), benchmark, edit)
        asked |= {item.item_id: item for item in of_table}
        section = (settings.tools.model_extra or {})[name]
        options = _stored(work.home, f"{name}.{benchmark.name}.{edit}", edited, section.options)
        sections[name] = section.model_copy(update={"options": options})
    if not asked:
        raise ToolformerError(
            f"No question of {benchmark.name!r} asks for a fact of {', '.join(named)} that can be "
            "edited. Expected questions that name a subject of the table and accept its value, "
            "and a table with other values and subjects."
        )
    changed = settings.model_copy(update={"tools": settings.tools.model_copy(update=sections)})
    changed_work = Workspace(changed, work.home, work.holder)
    opened = open_toolbox(changed_work, named=named, while_decoding=True).tools
    edited_tools = {name: opened.get(name, tool) for name, tool in toolbox.tools.items()}
    return EditedTables(replace(toolbox, tools=edited_tools), asked)


def _facts_by_item(
    facts: Sequence[Fact], benchmark: Benchmark, items: Sequence[BenchmarkItem]
) -> list[tuple[BenchmarkItem, list[Fact]]]:
    by_subject: defaultdict[str, list[Fact]] = defaultdict(list)
    for fact in facts:
        by_subject[folded(fact.subject)].append(fact)
    found = []
    for item in items:
        words = folded(" ".join(item.bare_texts) or item.prompt).split()
        names = {
            " ".join(words[start:end])
            for start in range(len(words))
            for end in range(start + 1, min(start + _MAX_SUBJECT_WORDS, len(words)) + 1)
        }
        of_item = [fact for name in sorted(names) for fact in by_subject.get(name, ())]
        if asked := [fact for fact in of_item if benchmark.score(item, fact.value)]:
            found.append((item, asked))
    return found


def _edited(
    facts: Sequence[Fact],
    asked: Sequence[tuple[BenchmarkItem, list[Fact]]],
    benchmark: Benchmark,
    edit: Edit,
) -> tuple[list[Fact], list[BenchmarkItem]]:
    if edit == "deleted":
        subjects = {fact.subject for _, of_item in asked for fact in of_item}
        # Some rows must remain, so that a model can be misled by another row.
        max_deleted = 2 * len({fact.subject for fact in facts}) // 3
        deleted = {*sorted(subjects, key=number_digest)[:max_deleted]}
        remaining = [fact for fact in facts if fact.subject not in deleted]
        affected = [
            item for item, of_item in asked if deleted.issuperset(fact.subject for fact in of_item)
        ]
        return remaining, affected
    others: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for fact in facts:
        others[fact.relation][fact.value] = None
    choices_of = {relation: list(values) for relation, values in others.items()}
    values: dict[Fact, str] = {}
    items = []
    for item, of_item in asked:
        for fact in of_item:
            # The choices are rotated by fact, so that no single value is right for all facts.
            choices = choices_of[fact.relation]
            first = number_digest(*fact) % len(choices)
            rotated = (*choices[first:], *choices[:first])
            wrong = (value for value in rotated if not benchmark.score(item, value))
            values.setdefault(fact, next(wrong, fact.value))
        now = tuple(values[fact] for fact in of_item)
        # Another item may have given the fact a value that this item accepts, too.
        if not any(benchmark.score(item, value) for value in now):
            items.append(replace(item, gold=now))
    return [fact._replace(value=values.get(fact, fact.value)) for fact in facts], items


def _stored(
    home: Home, name: str, facts: Sequence[Fact], options: Mapping[str, Any]
) -> dict[str, Any]:
    """Write the facts to a file, and return the options with which a tool reads it."""
    file = home.table_indexes / f"{name}.jsonl"
    content = "".join(f"{json.dumps(fact._asdict())}\n" for fact in facts)
    if not file.is_file() or file.read_text() != content:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, content)
    relations = {folded(fact.relation) for fact in facts}
    given = options.get("aliases") or ()
    aliases = [line for line in given if folded(line.rpartition("=")[2]) in relations]
    key = ["subject", "relation"] if any(relations) else ["subject"]
    # Facts never contain a marker for missing values.
    read = {"table": str(file), "key": key, "values": ["value"], "missing": []}
    return {**options, **read, "aliases": aliases}

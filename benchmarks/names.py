"""Whom a table answers for when a name is not written as the table has it.

A `TableTool` over 2,000 of the people of LAMA's Google-RE is asked for each of them: as the table
writes the name, without case and marks, and with one slip at a place that is drawn (two letters
changed places, one is missing, twice there, or another one). It is also asked for people that it
does not have: names of which one word is another word of these names by one edit (Christiane for
Christine). For each kind: how many answers are right, refused, and of another.

    python -m benchmarks.names LAMA/lama_google_re.jsonl.gz
"""

import argparse
import gzip
import json
import random
import string
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tools.errors import ToolCallError
from tools.plugins.table_names import folded
from tools.plugins.table_tool import TableTool
from tools.protocol import Document

_PEOPLE = 2000
_SLIPS = ("swapped", "missing", "doubled", "other")


def read_people(file: Path) -> list[str]:
    """The names of a file of LAMA, each once, in an order that is always the same."""
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        names = sorted({json.loads(line)["sub_label"] for line in lines})
    random.Random(0).shuffle(names)
    return names


def with_slip(name: str, kind: str, numbers: random.Random) -> str:
    """A folded name with one slip that changes it, at a place that is drawn."""
    places = [place for place, letter in enumerate(name) if letter.isalpha()]
    while True:
        place, letter = numbers.choice(places), numbers.choice(string.ascii_lowercase)
        before, here, behind = name[:place], name[place], name[place + 1 :]
        written = {
            "swapped": before + behind[:1] + here + behind[1:],
            "missing": before + behind,
            "doubled": before + here + here + behind,
            "other": before + letter + behind,
        }[kind]
        if written != name and written.count(" ") == name.count(" "):
            return written


def neighbours(names: Sequence[str]) -> Mapping[str, Sequence[str]]:
    """Of each word of folded names those that one edit makes of it."""
    words = {word for name in names for word in name.split()}
    return {word: sorted(words & _edited(word)) for word in words}


def _edited(word: str) -> set[str]:
    edited = set()
    for place in range(len(word) + 1):
        before, behind = word[:place], word[place:]
        edited |= {before + behind[1:], before + behind[1:2] + behind[:1] + behind[2:]}
        for letter in string.ascii_lowercase:
            edited |= {before + letter + behind, before + letter + behind[1:]}
    return edited - {word}


def questions(people: Sequence[str], absent: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Yield kind, name as it is asked for, and the one whose answer is right, or nothing.

    Args:
        people: Names of the table.
        absent: Names that it does not have, of which words are taken.
    """
    numbers = random.Random(1)
    everybody = {folded(name) for name in (*people, *absent)}
    near = neighbours(sorted(everybody))
    for name in people:
        plain = folded(name)
        yield "as written", name, name
        yield "without case and marks", plain, name
        for kind in _SLIPS:
            yield kind, with_slip(plain, kind, numbers), name
        words = plain.split()
        for place, word in enumerate(words):
            for other in near[word]:
                asked = " ".join([*words[:place], other, *words[place + 1 :]])
                if asked not in everybody:
                    yield "another's name", asked, ""


def measure(people: Sequence[str], absent: Sequence[str]) -> dict[str, Counter[str]]:
    """How many questions of each kind end how; see `questions`."""
    counted: dict[str, Counter[str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        lines = (json.dumps({"name": name, "same": name}) for name in people)
        (Path(folder) / "people.jsonl").write_text("\n".join(lines), encoding="utf-8")
        tool = TableTool("People", "people.jsonl", ["name"], ["same"], folder=folder)
        for kind, asked, right in questions(people, absent):
            try:
                answer = tool.call(asked, Document("", ""))
                end = "right" if answer == right else f"of another: {asked} -> {answer}"
            except ToolCallError:
                end = "refused"
            counted.setdefault(kind, Counter())[end] += 1
    return counted


def main() -> None:
    """Print the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    names = read_people(parser.parse_args().file)
    for kind, ends in measure(names[:_PEOPLE], names[_PEOPLE:]).items():
        print(kind, dict(ends))


if __name__ == "__main__":
    main()

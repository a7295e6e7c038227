"""How fast MT chooses texts, and how fast Apertium translates where it is installed.

    python -m benchmarks.translation --documents web_docs.jsonl.gz --parallel paragraphs.jsonl.gz

Documents have the fields `id` and `text`, parallel paragraphs a field `es`. Does not measure NLLB.
"""

import argparse
import gzip
import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tools.errors import ToolUnavailableError
from tools.machine_translation import MachineTranslation
from tools.protocol import Document

_LONGEST = 300


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--documents", type=Path, required=True, help="JSON lines, gzip")
    parser.add_argument("--parallel", type=Path, help="JSON lines with Spanish, gzip")
    arguments = parser.parse_args()
    tool = MachineTranslation(backend="apertium")
    measure_preselection(tool, arguments.documents)
    if arguments.parallel:
        measure_apertium(tool, arguments.parallel)


def measure_preselection(tool: MachineTranslation, file: Path) -> None:
    """Time the choice of texts."""
    documents = [Document(each["id"], each["text"]) for each in _records(file)]
    began, began_processor = time.perf_counter(), time.process_time()
    reasons = Counter(tool.preselect(document).reason for document in documents)
    print(
        f"preselection: {len(documents):,} documents in {time.perf_counter() - began:.1f} s, "
        f"{time.process_time() - began_processor:.1f} s of the processor: {dict(reasons)}"
    )


def measure_apertium(tool: MachineTranslation, file: Path) -> None:
    """Time a batch of sentences, and single ones."""
    try:
        tool.check_available()
    except ToolUnavailableError as error:
        print(error)
        return
    paragraphs = [each["es"] for each in _records(file)]
    sentences = [
        sentence
        for sentence in dict.fromkeys(re.split(r"(?<=\.) ", " ".join(paragraphs)))
        if 20 < len(sentence) <= _LONGEST
    ]
    document = Document("benchmark", "")
    began = time.perf_counter()
    answers = tool.call_batch([(sentence, document) for sentence in sentences])
    seconds = time.perf_counter() - began
    translated = sum(isinstance(answer, str) for answer in answers)
    print(
        f"Apertium, together: {translated:,} of {len(sentences):,} sentences in {seconds:.1f} s, "
        f"{translated / seconds:.0f} a second"
    )
    alone = sentences[:5]
    began = time.perf_counter()
    for sentence in alone:
        MachineTranslation(backend="apertium").call_batch([(sentence, document)])
    print(f"Apertium, one by one: {(time.perf_counter() - began) / len(alone):.2f} s a sentence")


def _records(file: Path) -> Iterator[dict]:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


if __name__ == "__main__":
    main()

"""What all engines are given: documents, tools with the paper's settings, and invented results.

Does not run a model. Results are invented, because the measurement is about the model: a fixed
function of the arguments, as long as the answers of the real tools.
"""

import gzip
import hashlib
import itertools
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from toolformer.calls import cut_result
from toolformer.forward.tokenization import Tokenizer
from toolformer.forward.windows import Window, split_into_windows
from toolformer.samples import SampledCall
from toolformer.scoring.call_scorer import ScoredCall
from toolformer.settings.annotation_sections import SamplingSettings, ScoringSettings
from toolformer.settings.tool_sections import ToolSettings
from tools.prompting import load_prompt
from tools.protocol import ToolCall

MIN_NUMBERS = 4
SAMPLING = SamplingSettings(max_new_tokens=24)
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
# As the laptop preset cuts results; nearly all passages of a real index are longer.
RESULT_TOKENS = 64
_PASSAGE_WORDS = 40  # pairs, of which the cut leaves about half
_WORDS = ("river", "county", "school", "station", "company", "season", "church", "government")
_MORE_WORDS = ("of the", "in", "was", "and his", "which", "from", "with a", "after")
_STARTER_TEXTS = Path("toolformer/starter_texts/starter_texts.jsonl")
_REPOSITORY = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True)
class ToolWorkload:
    """One tool as it is measured.

    Attributes:
        name: as written in calls.
        prompt: with the slot `{text}`; None in a later round, whose annotator needs none.
        positions_per_text: k.
        calls_per_position: m.
        documents: on how many it is measured.
        scoring: form of the losses.
    """

    name: str
    prompt: str | None
    positions_per_text: int
    calls_per_position: int
    documents: int
    scoring: ScoringSettings = ScoringSettings()  # noqa: RUF009 (it is frozen)

    @property
    def title(self) -> str:
        """The name, and the round where it is not the first."""
        return self.name if self.prompt is not None else f"{self.name}, later round"

    @property
    def settings(self) -> ToolSettings:
        """Sampling as measured: the k largest p_i, whatever they are."""
        return ToolSettings(
            sampling_threshold=0.0,
            positions_per_text=self.positions_per_text,
            calls_per_position=self.calls_per_position,
        )


def paper_workloads() -> list[ToolWorkload]:
    """Positions and samples of the paper, k and m (§4.1, appendix A)."""
    return [
        ToolWorkload("WikiSearch", load_prompt("WikiSearch"), 5, 5, documents=16),
        ToolWorkload("Calculator", load_prompt("Calculator"), 20, 10, documents=4),
    ]


def quick_workloads() -> list[ToolWorkload]:
    """Four positions, two samples, one document: to see that all works."""
    return [
        ToolWorkload("WikiSearch", load_prompt("WikiSearch"), 4, 2, documents=1),
        ToolWorkload("Calculator", load_prompt("Calculator"), 4, 2, documents=1),
    ]


def later_round(tool: ToolWorkload) -> ToolWorkload:
    """The tool in the hands of a Toolformer: no prompt, and calls scored at their places."""
    return replace(tool, prompt=None, scoring=ScoringSettings(placement="inline"))


def accept_arguments(text: str) -> str:
    """Arguments count as readable wherever the call's brackets are: no tool's own check."""
    return text


def default_documents_file() -> Path:
    """`web_docs` of the test data where a folder is given, else the embedded starter texts."""
    if not os.environ.get("TOOLFORMER_TEST_DATA"):
        return _REPOSITORY / _STARTER_TEXTS
    return test_data_file("web_docs")


def test_data_file(family: str) -> Path:
    """The first file of a family in the folder that TOOLFORMER_TEST_DATA names."""
    folder = Path(os.environ.get("TOOLFORMER_TEST_DATA") or ".")
    manifest = folder / "manifest.json"
    entries = json.loads(manifest.read_text("utf-8"))["files"] if manifest.exists() else []
    for entry in entries:
        if entry.get("family") == family:
            return folder / entry["file"]
    raise SystemExit(
        f"{manifest} lists no file of the family {family!r}. Set TOOLFORMER_TEST_DATA to a folder "
        "that has one, or name a JSON-lines file."
    )


def read_documents(
    file: Path, tokenizer: Tokenizer, *, count: int, document_tokens: int
) -> list[Window]:
    """The first documents with at least four numbers, each cut to its first window.

    Args:
        file: JSON lines with a field `text`, gzipped or not; read in file order.
        tokenizer: of the measured model.
        count: documents wanted.
        document_tokens: most tokens of a document.
    """
    documents = [
        next(split_into_windows(f"document-{line}", text, tokenizer, window_tokens=document_tokens))
        for line, text in itertools.islice(texts_with_numbers(file), count)
    ]
    if len(documents) < count:
        raise SystemExit(
            f"{file} holds {len(documents)} texts with at least {MIN_NUMBERS} numbers; "
            f"{count} are needed. Name a larger file with --documents."
        )
    return documents


def texts_with_numbers(file: Path) -> Iterator[tuple[int, str]]:
    """Line numbers and texts of the documents with at least four numbers, in file order."""
    opened = gzip.open if file.suffix == ".gz" else open
    with opened(file, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            text = json.loads(line)["text"]
            if len(_NUMBER.findall(text)) >= MIN_NUMBERS:
                yield number, text


def calls_to_score(
    tool: ToolWorkload, samples: Iterable[SampledCall], tokenizer: Tokenizer
) -> list[ScoredCall]:
    """The candidates among the samples of a tool, each with its invented result.

    A candidate is a distinct (document, position, arguments) that can be read.
    """
    calls = []
    for sample in candidates(samples):
        arguments = sample.arguments or ""
        result = invented_result(tool.name, arguments)
        calls.append(
            ScoredCall(
                call_id=sample.call_id,
                window=(sample.document_id, sample.window_index),
                position=sample.position,
                call=ToolCall(tool.name, arguments),
                result=cut_result(tokenizer, result, max_tokens=RESULT_TOKENS),
            )
        )
    return calls


def candidates(samples: Iterable[SampledCall]) -> list[SampledCall]:
    """Samples that are a call, each distinct one of a position once."""
    return [sample for sample in samples if sample.status == "parsed"]


def invented_result(tool_name: str, arguments: str) -> str:
    """A result that depends on the arguments alone: a number, or words like a passage's."""
    digest = hashlib.blake2b(arguments.encode(), digest_size=16).digest()
    seed = int.from_bytes(digest, "little")
    if tool_name == "Calculator":
        return f"{seed % 1_000_000 / 100:.2f}"
    # Three bits of the digest choose a word; it is gone through again and again.
    words = [
        choice[seed >> 3 * (place % 40) & 7]
        for place in range(_PASSAGE_WORDS)
        for choice in (_WORDS, _MORE_WORDS)
    ]
    return f"{words[0].title()} > History > {' '.join(words)}"


def calls_of(calls: Iterable[ScoredCall], documents: Sequence[Window]) -> list[ScoredCall]:
    """The calls that stand in these documents."""
    keys = {(document.document_id, document.index) for document in documents}
    return [call for call in calls if call.window in keys]

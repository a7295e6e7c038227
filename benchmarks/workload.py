"""Provides the inputs of all engines: documents, tools with the paper's settings, fake results.

Results are a fixed function of the arguments, as long as the answers of the real tools, because
only the model is measured.
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
# The limit of the laptop preset; nearly all passages of a real index are longer.
RESULT_TOKENS = 64
# Pairs of words per passage; the limit keeps about half of them.
_PASSAGE_WORDS = 40
_WORDS = ("river", "county", "school", "station", "company", "season", "church", "government")
_MORE_WORDS = ("of the", "in", "was", "and his", "which", "from", "with a", "after")
_STARTER_TEXTS = Path("toolformer/starter_texts/starter_texts.jsonl")
_REPOSITORY = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True)
class ToolWorkload:
    """One tool of the measurement; `prompt` is None in a later round, which needs none."""

    name: str
    prompt: str | None
    positions_per_text: int
    calls_per_position: int
    documents: int
    scoring: ScoringSettings = ScoringSettings()  # noqa: RUF009 (it is frozen)

    @property
    def title(self) -> str:
        return self.name if self.prompt is not None else f"{self.name}, later round"

    @property
    def settings(self) -> ToolSettings:
        """Settings that sample at the k largest p_i, however small they are."""
        return ToolSettings(
            sampling_threshold=0.0,
            positions_per_text=self.positions_per_text,
            calls_per_position=self.calls_per_position,
        )


def paper_workloads() -> list[ToolWorkload]:
    """Return workloads with the paper's k and m (§4.1, appendix A)."""
    return [
        ToolWorkload("WikiSearch", load_prompt("WikiSearch"), 5, 5, documents=16),
        ToolWorkload("Calculator", load_prompt("Calculator"), 20, 10, documents=4),
    ]


def quick_workloads() -> list[ToolWorkload]:
    return [
        ToolWorkload("WikiSearch", load_prompt("WikiSearch"), 4, 2, documents=1),
        ToolWorkload("Calculator", load_prompt("Calculator"), 4, 2, documents=1),
    ]


def later_round(tool: ToolWorkload) -> ToolWorkload:
    """Return the tool for a trained annotator: no prompt, and calls scored inline."""
    return replace(tool, prompt=None, scoring=ScoringSettings(placement="inline"))


def accept_arguments(text: str) -> str:
    return text


def default_documents_file() -> Path:
    if not os.environ.get("TOOLFORMER_TEST_DATA"):
        return _REPOSITORY / _STARTER_TEXTS
    return test_data_file("web_docs")


def test_data_file(family: str) -> Path:
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
    """Return the first windows of the first documents with at least four numbers.

    The file has JSON lines with a field `text`, and may be gzipped.
    """
    documents = [
        next(split_into_windows(f"document-{line}", text, tokenizer, window_tokens=document_tokens))
        for line, text in itertools.islice(texts_with_numbers(file), count)
    ]
    if len(documents) < count:
        raise SystemExit(
            f"{file} has only {len(documents)} texts with at least {MIN_NUMBERS} numbers. Expected "
            f"{count}. Name a larger file with --documents."
        )
    return documents


def texts_with_numbers(file: Path) -> Iterator[tuple[int, str]]:
    opened = gzip.open if file.suffix == ".gz" else open
    with opened(file, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            text = json.loads(line)["text"]
            if len(_NUMBER.findall(text)) >= MIN_NUMBERS:
                yield number, text


def calls_to_score(
    tool: ToolWorkload, samples: Iterable[SampledCall], tokenizer: Tokenizer
) -> list[ScoredCall]:
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
    # Duplicates of a position have another status.
    return [sample for sample in samples if sample.status == "parsed"]


def invented_result(tool_name: str, arguments: str) -> str:
    """Return a result that depends only on the arguments: a number, or a passage of words."""
    digest = hashlib.blake2b(arguments.encode(), digest_size=16).digest()
    seed = int.from_bytes(digest, "little")
    if tool_name == "Calculator":
        return f"{seed % 1_000_000 / 100:.2f}"
    # Three bits of the digest choose each pair of words.
    words = [
        choice[seed >> 3 * (index % 40) & 7]
        for index in range(_PASSAGE_WORDS)
        for choice in (_WORDS, _MORE_WORDS)
    ]
    return f"{words[0].title()} > History > {' '.join(words)}"


def calls_of(calls: Iterable[ScoredCall], documents: Sequence[Window]) -> list[ScoredCall]:
    keys = {(document.document_id, document.index) for document in documents}
    return [call for call in calls if call.window in keys]

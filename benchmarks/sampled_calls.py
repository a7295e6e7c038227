"""Calls that a model suggests for real documents, with results that follow from their arguments.

For measurements of scoring: no index and no Java. Documents are taken in file order and in chunks,
as a build takes them in shards. Does not score.
"""

import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from toolformer.forward.checkpoint import Checkpoint
from toolformer.forward.language_model import LanguageModel
from toolformer.forward.windows import Window, split_into_windows
from toolformer.losses import ScoredCall
from toolformer.samples import SamplingParameters
from toolformer.sampling import sample_shard
from tools.errors import ToolCallError
from tools.prompting import load_prompt
from tools.protocol import Document, ToolCall
from tools.registry import create_tool

# As the preset `laptop` has them: τ_s, k, m.
TOOLS = {"WikiSearch": (0.0005, 3, 2), "Calculator": (0.0, 4, 3)}
WINDOW_TOKENS = 256
_MAX_NEW_TOKENS = 24
_RESULT_TOKENS = 64
# Documents of one chunk, and windows of one document: many texts rather than long ones.
_DOCUMENTS = 25
_WINDOWS_PER_DOCUMENT = 2
# Documents whose sentences are the results of searches; they give no calls.
_PASSAGE_DOCUMENTS = 300


@dataclass(frozen=True, slots=True)
class Chunk:
    """The windows of some documents and the calls of each tool in them."""

    windows: list[Window]
    calls: dict[str, list[ScoredCall]]


class CallSource:
    """Samples calls chunk by chunk; what was sampled is kept in a folder.

    Args:
        file: JSON lines with `text`, compressed or not.
        work: where samples are kept.
        load_model: gives the sampling model.
        identity: of that model.
    """

    def __init__(
        self, file: Path, work: Path, load_model: Callable[[], LanguageModel], identity: str
    ):
        self._work = work
        self._load_model = load_model
        self._identity = identity
        texts = _texts(file)
        self._passages = [
            passage
            for _, text in zip(range(_PASSAGE_DOCUMENTS), texts, strict=False)
            for passage in _passages(text)
        ]
        self._words = [frozenset(_words(passage)) for passage in self._passages]
        self._texts = texts

    def chunks(self) -> Iterator[Chunk]:
        """All chunks of the file, one after the other."""
        for number, texts in enumerate(_groups(self._texts, _DOCUMENTS)):
            yield self._chunk(number, texts)

    def _chunk(self, number: int, texts: list[str]) -> Chunk:
        model = self._load_model()
        documents = [
            Document(
                document_id=f"{number}-{index}", text=text, url=None, title=None, published_on=None
            )
            for index, text in enumerate(texts)
        ]
        windows = {
            document.document_id: [
                window
                for _, window in zip(
                    range(_WINDOWS_PER_DOCUMENT),
                    split_into_windows(
                        document.document_id,
                        document.text,
                        model.tokenizer,
                        window_tokens=WINDOW_TOKENS,
                    ),
                    strict=False,
                )
            ]
            for document in documents
        }
        calls = {}
        for name, (threshold, positions, samples) in TOOLS.items():
            # The index is never opened: results come from `_passage`.
            settings = {"index_directory": str(self._work)} if name == "WikiSearch" else {}
            tool = create_tool(name, settings)
            selected = [document for document in documents if tool.preselect(document).is_selected]
            rows = sample_shard(
                model,
                load_prompt(name, None),
                [window for each in selected for window in windows[each.document_id]],
                tool_name=name,
                takes_arguments=True,
                parse_arguments=tool.parse_arguments,
                parameters=SamplingParameters(
                    sampling_threshold=threshold,
                    positions_per_text=positions,
                    calls_per_position=samples,
                    max_new_tokens=_MAX_NEW_TOKENS,
                    temperature=1.0,
                    seed=0,
                    is_constrained=True,
                    round=1,
                ),
                windows_per_batch=8,
                window_tokens=WINDOW_TOKENS,
                checkpoint=Checkpoint(
                    self._work / f"samples-{number:04d}-{name}", fingerprint=self._identity
                ),
                progress=lambda *_: None,
            )
            by_id = {document.document_id: document for document in documents}
            calls[name] = []
            for row in rows:
                if row.status != "parsed" or row.arguments is None:
                    continue
                if name == "WikiSearch":
                    result = self._passage(row.arguments)
                else:
                    try:
                        result = tool.call(row.arguments, by_id[row.document_id])
                    except ToolCallError:
                        continue
                calls[name].append(
                    ScoredCall(
                        call_id=row.call_id,
                        window=(row.document_id, row.window),
                        position=row.position,
                        call=ToolCall(name, row.arguments),
                        result=result,
                    )
                )
        return Chunk([window for each in windows.values() for window in each], calls)

    def _passage(self, query: str) -> str:
        """The passage that shares most words with the query, the first of equal ones."""
        words = set(_words(query))
        best = max(
            range(len(self._passages)),
            key=lambda index: (len(words & self._words[index]), -index),
        )
        return self._passages[best]


def _texts(file: Path) -> Iterator[str]:
    open_file = gzip.open if file.suffix == ".gz" else open
    with open_file(file, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)["text"]


def _groups(texts: Iterator[str], size: int) -> Iterator[list[str]]:
    group: list[str] = []
    for text in texts:
        group.append(text)
        if len(group) == size:
            yield group
            group = []


def _passages(text: str) -> list[str]:
    words = text.replace("[", "(").replace("]", ")").replace("->", "-").split()
    return [" ".join(words[start : start + 50]) for start in range(0, len(words) - 50, 50)]


def _words(text: str) -> list[str]:
    return [word.strip(".,;:!?()\"'").lower() for word in text.split()]

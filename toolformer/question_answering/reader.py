"""Answers questions by continuing prompts that contain a passage and the question.

    p(a | q) = Σ_z  p(z | q) · p(a | q, z)      over the retrieved passages z

    fed:       demonstrations | Passage: z, Question: | q           | Answer: | a, line end
    states:    (once for all)                          predict q               predict a

p(z | q) is the retriever's weight times a power of p(q | z), normalised over the passages.
p(a | q, z) is the probability that the model writes the answer and ends the line. An answer is made
of words of the passage: decoding tries a few first tokens and continues each one greedily. The sum
over passages follows Lewis et al. (2020).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from importlib.resources import files
from itertools import islice
from typing import NamedTuple

import regex

from toolformer.base.constants import FUNCTION_WORDS
from toolformer.errors import ModelNotFoundError, OutOfMemoryError, ServedModelError
from toolformer.forward.batching import feed_in_halves
from toolformer.forward.model import REPORTED_RANKS, Model, TextPosition
from toolformer.forward.tokenization import Tokenizer
from toolformer.forward.windows import Window
from tools.errors import ToolDiedError, ToolUnavailableError
from tools.retrieval.passages import RankedPassage
from tools.retrieval.retrieval_tool import Answer

PROMPT = files("tools.prompts").joinpath("reader.txt").read_text(encoding="utf-8").rstrip("\n")
_BEFORE_ANSWER = "\nAnswer:"
_MAX_PASSAGE_WORDS = 120
_MAX_ANSWER_TOKENS = 24
_QUESTION_WEIGHT = 0.5
# Number of first tokens to try per passage; each is continued greedily.
_FIRST_TOKENS = 4
# Number of next tokens to consider: as many as every server reports.
_NEXT_TOKENS = REPORTED_RANKS - 1
# Answers below this log-probability are dropped before they are complete.
_MIN_LOG_PROBABILITY = math.log(1e-3)
# Number of rows in memory per passage: the passage, one copy of it, and one copy per first token.
_ROWS = 2 + _FIRST_TOKENS


class LanguageModelReader:
    """Causal language model that implements `tools.retrieval.retrieval_tool.Reader`.

    `load` is called at the first question. `identity` identifies the model and its precision.
    """

    def __init__(self, load: Callable[[], Model], *, identity: Callable[[], str]):
        self._load = load
        self._identity = identity

    def version(self) -> str:
        return f"language-model 5 model={self._identity()}"

    def prepare(self) -> None:
        with _tool_errors():
            self._load()

    def read(self, requests: Sequence[tuple[str, Sequence[RankedPassage]]]) -> list[Answer | None]:
        if not requests:
            return []
        weighted_answers: list[tuple[float, dict[str, float]]] = []
        with _tool_errors():
            model = self._load()
            questions = [
                question for request in requests for question in _passage_questions(model, *request)
            ]
            size = model.windows_per_batch(
                windows=len(questions),
                branches=_FIRST_TOKENS,
                keys=_ROWS * max((question.row_tokens for question in questions), default=1),
            )
            for start in range(0, len(questions), size):
                batch = questions[start : start + size]
                weighted_answers += feed_in_halves(batch, lambda subset: _read(model, subset))[0]
        next_answers = iter(weighted_answers)
        return [best_answer(list(islice(next_answers, len(passages)))) for _, passages in requests]


@contextmanager
def _tool_errors() -> Iterator[None]:
    try:
        yield
    except ModelNotFoundError as error:
        raise ToolUnavailableError(
            "QA",
            f"its reader cannot be loaded ({error})",
            "Set language_model.path in toolformer.yaml to a model directory",
        ) from error
    except (OutOfMemoryError, ServedModelError) as error:
        raise ToolDiedError(str(error)) from error


def best_answer(weighted_answers: Sequence[tuple[float, dict[str, float]]]) -> Answer | None:
    """Return the most likely answer, given ln p(z | q) + constant and p(a | q, z) per passage.

    Answers that differ only in case, articles and punctuation are merged.
    """
    largest = max(log_weight for log_weight, _ in weighted_answers)
    total = math.fsum(math.exp(log_weight - largest) for log_weight, _ in weighted_answers)
    shares: dict[str, list[tuple[float, str]]] = {}
    for log_weight, answers in weighted_answers:
        for text, probability in answers.items():
            share = math.exp(log_weight - largest) / total * probability
            shares.setdefault(_key(text), []).append((share, text))
    sums = {key: math.fsum(share for share, _ in equal) for key, equal in shares.items()}
    best = max(sums, key=sums.__getitem__, default=None)
    return None if best is None else Answer(max(shares[best])[1], min(sums[best], 1.0))


class _PassageQuestion(NamedTuple):
    """Question about a passage; `row_tokens` includes the prompt and the longest answer."""

    question: str
    ids: list[int]
    text: str
    score: float
    row_tokens: int

    def contains_start(self, text: str) -> bool:
        # The last character may be incomplete.
        return text.startswith(" ") and text.rstrip("\ufffd") in f" {self.text}"

    def is_answer(self, text: str) -> bool:
        """Return whether a text is whole words of the passage and not only of the question."""
        words = _key(text).split()
        if not words or words[0] in FUNCTION_WORDS or words[-1] in FUNCTION_WORDS:
            return False
        is_whole = f" {_key(text)} " in f" {_key(self.text)} "
        return is_whole and not FUNCTION_WORDS.union(_key(self.question).split()).issuperset(words)


def _passage_questions(
    model: Model, question: str, passages: Sequence[RankedPassage]
) -> Iterator[_PassageQuestion]:
    """Yield the question with each passage, cut to fit the model's context.

    Each passage is put on one line, so that it cannot imitate a question of the prompt.
    """
    encode, start = model.tokenizer.encode_continuation, len(model.prompt_start)
    ids = encode(f" {question}")
    shared = sum(len(_encoded(model.tokenizer, text)) for text in (PROMPT, _BEFORE_ANSWER))
    around = start + shared + len(ids) + _MAX_ANSWER_TOKENS
    for passage, score in passages:
        words = f"{passage.title}. {passage.text}".split()[:_MAX_PASSAGE_WORDS]
        while (length := len(encode(" ".join(words)))) > model.context_length - around and words:
            words = words[: len(words) // 2]
        yield _PassageQuestion(question, ids, " ".join(words), score, around + length)


@lru_cache(maxsize=2)
def _encoded(tokenizer: Tokenizer, text: str) -> tuple[int, ...]:
    return tuple(tokenizer.encode_continuation(text))


def _read(
    model: Model, questions: Sequence[_PassageQuestion]
) -> list[tuple[float, dict[str, float]]]:
    decode, ends = model.tokenizer.decode_continuation, model.end_ids | model.tokenizer.special_ids
    # The last token of a window is never fed, so a 0 is appended.
    windows = [Window("", 0, 0, question.text, (*question.ids, 0), ()) for question in questions]
    texts = model.read(PROMPT, windows)
    targets = [
        (TextPosition(row, at), t)
        for row, question in enumerate(questions)
        for at, t in enumerate(question.ids)
    ]
    losses = iter(texts.losses(targets))
    weighted_answers: list[tuple[float, dict[str, float]]] = [
        (question.score - _QUESTION_WEIGHT * math.fsum(islice(losses, len(question.ids))), {})
        for question in questions
    ]
    # For each row: index of its passage, and tokens and log-probability of the answer so far.
    rows = [(passage, list[int](), 0.0) for passage in range(len(questions))]
    contexts = texts.contexts(
        [TextPosition(row, len(question.ids)) for row, question in enumerate(questions)]
    )
    fed: list[Sequence[int]] = [_encoded(model.tokenizer, _BEFORE_ANSWER)] * len(rows)
    while rows:
        expected = contexts.next_tokens(fed, open_id=model.bos_id, count=_NEXT_TOKENS)
        extended: list[tuple[int, tuple[int, list[int], float]]] = []
        for row, ((passage, tokens, log_probability), next_tokens) in enumerate(
            zip(rows, expected, strict=True)
        ):
            log_probabilities = {
                token: log_probability + next_tokens.log_probability(token)
                for token in next_tokens.ranked[:_NEXT_TOKENS]
            }
            stops = {t for t in log_probabilities if t in ends or decode([t]).startswith("\n")}
            if stops and questions[passage].is_answer(decode(tokens)):
                text, answers = decode(tokens).strip(" .,;:"), weighted_answers[passage][1]
                answers[text] = answers.get(text, 0.0) + sum(
                    math.exp(log_probabilities[t]) for t in stops
                )
            if len(tokens) < _MAX_ANSWER_TOKENS:
                likely = (
                    t
                    for t in log_probabilities
                    if log_probabilities[t] > _MIN_LOG_PROBABILITY and t not in stops
                )
                longer = (
                    t for t in likely if questions[passage].contains_start(decode([*tokens, t]))
                )
                # Several first tokens per passage, each continued with the most likely token.
                extended += (
                    (row, (passage, [*tokens, token], log_probabilities[token]))
                    for token in islice(longer, 1 if tokens else _FIRST_TOKENS)
                )
        is_first = not rows[0][1]
        rows, sources = [each for _, each in extended], [row for row, _ in extended]
        fed = [tokens[-1:] for _, tokens, _ in rows]
        if rows and is_first:
            contexts = contexts.fork(sources)
        elif rows:
            contexts.keep(sources)
    return weighted_answers


def _key(text: str) -> str:
    """Return the words of an answer in lower case and without articles, to compare answers."""
    # Unlike `re`, `regex` counts vowel signs and accents as \w, but not ² and ½, hence \p{N}.
    words = regex.findall(r"[\w\p{N}]+", text.casefold())
    return " ".join(word for word in words if word not in ("a", "an", "the"))

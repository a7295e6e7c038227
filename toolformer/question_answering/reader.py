"""The language model as a reader: it reads passages one by one, and answers with words of them.

    p(a | q) = Σ_z  p(z | q) · p(a | q, z)      over the passages z that were retrieved

p(z | q) is the retriever's weight of the passage times a power of p(q | z), how well the passage
predicts the question, normalised over the passages. p(a | q, z) is the probability that the model,
shown passage and question, writes the answer and ends its line. Answers are stretches of the
passages. (Lewis et al., 2020, marginalise the same way over a reader that writes freely.)

    fed:       prompt's demonstrations | Passage: z, Question: | q, Answer: | beam of tokens of a
    states:    (once for all)                                    predict q    predict a and the end

What cannot be answered gets little probability from any passage. Questions are read together, as
many as a batch holds: a step of the beam reads all weights, for one question or for many.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

from toolformer.errors import ModelNotFoundError, OutOfMemoryError, ServedModelError
from toolformer.forward.batching import end_of_batch
from toolformer.forward.geometry import feed_in_halves
from toolformer.forward.model import Model, Place
from toolformer.forward.windows import Window
from toolformer.question_answering.answer_beam import likeliest_spans, line_end_ids
from toolformer.question_answering.answer_spans import SpanNode, answer_key, answer_spans, span_tree
from tools.errors import ToolDiedError, ToolUnavailableError
from tools.retrieval.passages import Passage, RankedPassage
from tools.retrieval.retrieval_tool import Answer

# The text slot takes the passage; question and answer are fed behind it.
PROMPT = """Each passage is followed by a question and its short answer.

Passage: Warsaw. Warsaw is the capital and largest city of Poland. It stands on the Vistula, and \
about 1.9 million people live there.
Question: on which river does Warsaw stand?
Answer: the Vistula

Passage: Marie Curie. Marie Curie was a physicist and chemist who did early work on radioactivity. \
In 1903 she was the first woman to win a Nobel Prize.
Question: when did Marie Curie win the nobel prize?
Answer: 1903

Passage: Moby-Dick. The book tells how Captain Ahab hunts the white whale that bit off his leg. \
Herman Melville began to write it in 1850.
Question: who wrote Moby-Dick?
Answer: Herman Melville

Passage: {text}
Question:"""
_BEFORE_ANSWER = "\nAnswer:"
_MAX_ANSWER_TOKENS = 32
# Tokens of questions read together, each passage with the prompt, whose keys it gets a copy of.
_BATCH_TOKENS = 8192


@dataclass(frozen=True, slots=True)
class ReadingParameters:
    """How passages are read.

    Attributes:
        passage_words: Longer passages are cut there.
        answer_words: Longest answer.
        beam_width: Beginnings of answers that are followed in each passage, at each token.
        min_probability: Beginnings that the passage makes less probable are not followed.
        question_weight: Power of p(q | z) in the weight of a passage; 0 leaves the passages to
            the retriever.
    """

    passage_words: int
    answer_words: int
    beam_width: int
    min_probability: float
    question_weight: float


class LanguageModelReader:
    """A `tools.retrieval.retrieval_tool.Reader` that asks a causal language model.

    Args:
        load: Gives the model; called at the first question and not before.
        identity: Tells the model and its precision from others; called for the version.
    """

    def __init__(
        self,
        load: Callable[[], Model],
        *,
        identity: Callable[[], str],
        parameters: ReadingParameters,
    ):
        self._load = load
        self._identity = identity
        self._parameters = parameters

    def version(self) -> str:
        """Settings and model."""
        reading = self._parameters
        return (
            f"language-model 4 passage_words={reading.passage_words} "
            f"answer_words={reading.answer_words} beam_width={reading.beam_width} "
            f"min_probability={reading.min_probability:g} "
            f"question_weight={reading.question_weight:g} model={self._identity()}"
        )

    def prepare(self) -> None:
        """Load the model, unless that was done.

        Raises:
            ToolUnavailableError: The model cannot be loaded.
        """
        self._model()

    def read(self, requests: Sequence[tuple[str, Sequence[RankedPassage]]]) -> list[Answer | None]:
        """See `tools.retrieval.retrieval_tool.Reader`.

        Which questions are read together changes the last digits of probabilities, as anywhere in
        floating point, and no more.

        Raises:
            ToolUnavailableError: The model cannot be loaded.
            ToolDiedError: The device's memory does not hold the passages of one question, or the
                server that runs the model does not answer.
        """
        if not requests:
            return []
        model, parameters = self._model(), self._parameters
        questions = [_Question.of(model, *request, parameters) for request in requests]
        lengths = [question.tokens for question in questions]
        answers: list[Answer | None] = []
        try:
            while len(answers) < len(questions):
                start = len(answers)
                end = end_of_batch(lengths, start, token_budget=_BATCH_TOKENS)
                answers += feed_in_halves(
                    questions[start:end],
                    lambda together: _read_answers(model, together, parameters),
                )[0]
        except OutOfMemoryError as error:
            raise ToolDiedError(
                "The memory of the device does not hold the passages of one question. Lower "
                "tools.QA.options.passages."
            ) from error
        except ServedModelError as error:
            raise ToolDiedError(str(error)) from error
        return answers

    def _model(self) -> Model:
        try:
            return self._load()
        except (OutOfMemoryError, ServedModelError) as error:
            raise ToolDiedError(str(error)) from error
        except ModelNotFoundError as error:
            raise ToolUnavailableError(
                "QA",
                f"its reader cannot be loaded ({error})",
                "Set language_model.path in toolformer.yaml to a model directory",
            ) from error


def passage_weights(
    scores: Sequence[float], question_losses: Sequence[float], *, question_weight: float
) -> list[float]:
    """p(z | q) over the passages of one question.

    Args:
        scores: Natural logarithms of the retriever's weights, up to a constant.
        question_losses: -log p(q | z) in nats.
        question_weight: Power of p(q | z).

    Example:
        >>> [round(w, 3) for w in passage_weights([0.0, 0.0], [2.0, 1.0], question_weight=1.0)]
        [0.269, 0.731]
    """
    logs = [
        score - question_weight * loss for score, loss in zip(scores, question_losses, strict=True)
    ]
    largest = max(logs)
    weights = [math.exp(log - largest) for log in logs]
    total = sum(weights)
    return [weight / total for weight in weights]


def best_answer(answers: Sequence[dict[str, float]], weights: Sequence[float]) -> Answer | None:
    """The answer whose probabilities under all passages add up to most.

    Answers that differ in case, articles and punctuation alone count as one.

    Args:
        answers: For each passage p(a | q, z) by span.
        weights: p(z | q).

    Example:
        >>> best_answer([{"Vistula": 0.4, "Rhine": 0.5}, {"the Vistula": 0.6}], [0.5, 0.5])
        Answer(text='the Vistula', probability=0.5)
    """
    totals: dict[str, float] = {}
    largest: dict[str, tuple[float, str]] = {}
    for spans, weight in zip(answers, weights, strict=True):
        for span, probability in spans.items():
            key, share = answer_key(span), weight * probability
            totals[key] = totals.get(key, 0.0) + share
            if key not in largest or share > largest[key][0]:
                largest[key] = (share, span)
    if not totals:
        return None
    best = max(totals, key=totals.__getitem__)
    return Answer(largest[best][1], min(totals[best], 1.0))


@dataclass(frozen=True, slots=True)
class _Question:
    """A question and its passages as they are read.

    Attributes:
        ids_before_answer: These, and what stands before the answer.
        texts: What is shown of each passage.
        candidates: The tree of possible answers, by passage.
        scores: The natural logarithm of the retriever's weight, by passage.
        tokens: What reading it feeds and keeps; each passage has a copy of the prompt's keys.
    """

    ids: list[int]
    ids_before_answer: list[int]
    texts: list[str]
    candidates: list[SpanNode]
    scores: list[float]
    tokens: int

    @classmethod
    def of(
        cls,
        model: Model,
        question: str,
        passages: Sequence[RankedPassage],
        parameters: ReadingParameters,
    ) -> "_Question":
        encode = model.tokenizer.encode_behind
        ids = encode(f" {question}")
        texts = [_shown(model, question, ranked.passage, parameters) for ranked in passages]
        around = _tokens_around(model, question)
        return cls(
            ids,
            [*ids, *encode(_BEFORE_ANSWER)],
            texts,
            [_candidates(model, text, question, parameters.answer_words) for text in texts],
            [ranked.score for ranked in passages],
            sum(around + len(encode(text)) for text in texts),
        )


def _shown(model: Model, question: str, passage: Passage, parameters: ReadingParameters) -> str:
    """What is read of a passage, on one line: its text can then not pass for a question."""
    words = f"{passage.title}. {passage.text}".split()[: parameters.passage_words]
    tokens = model.tokenizer.encode_behind
    rest = _tokens_around(model, question) + _MAX_ANSWER_TOKENS
    # A long question leaves a small context little room.
    while words and rest + len(tokens(" ".join(words))) > model.context_length:
        words = words[: len(words) // 2]
    return " ".join(words)


def _tokens_around(model: Model, question: str) -> int:
    """How many tokens stand around a passage, up to the answer."""
    around = model.tokenizer.encode(f"{PROMPT} {question}{_BEFORE_ANSWER}")
    return len(model.prompt_start) + len(around)


def _candidates(model: Model, text: str, question: str, max_words: int) -> SpanNode:
    spans = answer_spans(text, question, max_words=max_words)
    encoded = model.tokenizer.encode_each((f" {span}" for span in spans), is_behind=True)
    return span_tree(spans, encoded)


def _read_answers(
    model: Model, questions: Sequence[_Question], parameters: ReadingParameters
) -> list[Answer | None]:
    """For each question the answer of the largest probability, if its passages hold any."""
    span_probabilities = iter(_read(model, questions, parameters))
    answers = []
    for question in questions:
        losses, probabilities = zip(*islice(span_probabilities, len(question.texts)), strict=True)
        weights = passage_weights(
            question.scores, losses, question_weight=parameters.question_weight
        )
        answers.append(best_answer(probabilities, weights))
    return answers


def _read(
    model: Model, questions: Sequence[_Question], parameters: ReadingParameters
) -> list[tuple[float, dict[str, float]]]:
    """-log p(q | z), and p(a | q, z) by span, for each passage of each question."""
    pairs = [(question, text) for question in questions for text in question.texts]
    read = model.read(
        PROMPT,
        [
            # Answers start at a window's last token, which is never fed.
            Window("", index, 0, text, (*question.ids_before_answer, 0), ())
            for index, (question, text) in enumerate(pairs)
        ],
    )
    asked = [
        (Place(index, position), token)
        for index, (question, _) in enumerate(pairs)
        for position, token in enumerate(question.ids)
    ]
    losses = iter(read.losses(asked))
    question_losses = [math.fsum(islice(losses, len(question.ids))) for question, _ in pairs]
    ends = [len(question.ids_before_answer) for question, _ in pairs]
    spans = likeliest_spans(
        [tree for question in questions for tree in question.candidates],
        read.beam([Place(index, end) for index, end in enumerate(ends)]),
        line_end_ids(model),
        width=parameters.beam_width,
        min_probability=parameters.min_probability,
    )
    return list(zip(question_losses, spans, strict=True))

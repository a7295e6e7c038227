"""What a scripted model and one that has learned calls are asked in the tests of decoding."""

from dataclasses import replace

import pytest

from tests.fakes import decoding_with, taught_model
from toolformer.decoding.decoder import complete
from toolformer.forward.language_model import LanguageModel
from toolformer.forward.shared_rows import SharedRows

PROMPT = "Six times seven is"
PLAIN = PROMPT + " many."
LESSONS = (
    "6 times 7 is [Calculator(6 * 7) -> 42] 42, I say.",
    "Half of 9 is [Calculator(9 / 2) -> 4.5] 4.5, I say.",
    "And yesterday it was a day [QA(day?) -> Monday] Monday, I say.",
    "See the note [7] there, I say.",
)


@pytest.fixture(scope="package")
def pupil() -> LanguageModel:
    return taught_model(LESSONS)


@pytest.fixture
def fed(monkeypatch) -> list[list[list[int]]]:
    """The tokens of each row, of each pass of a cache."""
    passes = []
    feed = SharedRows.feed
    monkeypatch.setattr(
        SharedRows, "feed", lambda rows, tokens: passes.append(tokens) or feed(rows, tokens)
    )
    return passes


def answer(result: str | None):
    return lambda requests: [result for _ in requests]


def never(requests):
    raise AssertionError(f"no call was expected, got {requests}")


def complete_one(model, prompt=PROMPT, *, run_calls=never, parse_arguments=None, **changes):
    (completion,) = complete(
        model,
        [prompt],
        decoding=decoding_with(**changes),
        run_calls=run_calls,
        parse_arguments=parse_arguments,
    )
    return completion


def without_negligible_ranks(completions):
    """Other batches round otherwise, so tokens that are all but impossible change their ranks."""
    return [
        replace(
            completion,
            trace=tuple(
                replace(step, call_rank=None) if (step.call_probability or 0.0) < 1e-4 else step
                for step in completion.trace
            ),
        )
        for completion in completions
    ]

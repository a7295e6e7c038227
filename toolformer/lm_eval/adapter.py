"""The model as lm-evaluation-harness wants it: `simple_evaluate(model=HarnessModel(answers))`.

Of its three kinds of request only `generate_until` is served. Chat templates are not used: a model
is finetuned on plain texts. Importing this module needs the package lm-eval.
"""

from collections.abc import Sequence
from typing import Any, NoReturn

from lm_eval.api.model import LM  # pyright: ignore[reportMissingImports]

from toolformer.errors import UnservedGenerationError
from toolformer.lm_eval.answers import Answers


class HarnessModel(LM):
    """Answers the requests of tasks that let the model write."""

    def __init__(self, answers: Answers) -> None:
        super().__init__()
        self._answers = answers

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """The answers, without calls, to all requests of a run."""
        return self._answers.to([request.args for request in requests])

    def loglikelihood(self, requests: Sequence[Any]) -> NoReturn:
        """Refuse: nothing is written there.

        Raises:
            UnservedGenerationError: always.
        """
        raise UnservedGenerationError(
            f"A task asks for {len(requests)} likelihoods. There the likelihood of given texts is "
            "compared and the model writes nothing, so that no tool ever runs. Expected tasks with "
            "output_type: generate_until, such as nq_open, triviaqa or gsm8k."
        )

    loglikelihood_rolling = loglikelihood

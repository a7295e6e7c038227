r"""What a task asks of the model, and the answers to it.

asked      a prompt, and {"until": ["\n", ".", ","], "do_sample": False}
decoded    " about 42 [Calculator(1.5 * 28) -> 42], I think"
answered   " about 42"            without calls, and cut at the `,` that stands outside them
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from toolformer.decoding.completions import Completion
from toolformer.errors import UnservedGenerationError

# What the harness's own models take where a task says nothing.
_MAX_NEW_TOKENS = 256
# The names that tasks have for it; the harness reads them in this order.
_LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
# Without sampling these change nothing.
_OF_SAMPLING = ("top_k", "top_p", "min_p", "seed")


class Generation(NamedTuple):
    """How a text is to be continued.

    Attributes:
        until: the answer ends before the first of these that appears outside calls.
        max_new_tokens: most tokens outside calls.
    """

    until: tuple[str, ...]
    max_new_tokens: int

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> "Generation":
        """Read the `generation_kwargs` of a task.

        As in the harness, a temperature beside `do_sample: false` changes nothing.

        Raises:
            UnservedGenerationError: greedy decoding with calls cannot do what is asked.
        """
        left = {name: value for name, value in arguments.items() if value is not None}
        until = left.pop("until", ())
        lengths = [left.pop(name) for name in _LENGTHS if name in left]
        temperature = float(left.pop("temperature", 0))
        if left.pop("do_sample", temperature > 0):
            raise _refused(arguments, "sampling", "Set do_sample: false in the task.")
        if left.pop("num_beams", 1) != 1:
            raise _refused(arguments, "a search with beams", "Set num_beams: 1 in the task.")
        if others := sorted(left.keys() - set(_OF_SAMPLING)):
            raise _refused(arguments, ", ".join(others), "Leave it out of the task.")
        max_new_tokens = int(lengths[0]) if lengths else _MAX_NEW_TOKENS
        if max_new_tokens < 1:
            raise _refused(arguments, f"{max_new_tokens} new tokens", "Expected at least one.")
        # An empty text would end every answer before its first character.
        texts = (until,) if isinstance(until, str) else until
        return cls(tuple(text for text in texts if text), max_new_tokens)


Decode: TypeAlias = Callable[[Sequence[str], Generation], Sequence[Completion]]


class Answers:
    """The answers of one model in one mode, and the completions that they were cut from.

    Attributes:
        completions: by prompt and how it was to be continued.
    """

    def __init__(self, decode: Decode) -> None:
        """Take what continues many prompts in one way, in one batch."""
        self._decode = decode
        self.completions: dict[tuple[str, Generation], Completion] = {}

    def to(self, requests: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
        """Answer requests, all that ask for the same way together, and equal ones once.

        Args:
            requests: prompts, each with the `generation_kwargs` of its task.

        Raises:
            UnservedGenerationError: before anything is decoded; see `Generation.of`.
        """
        wanted = [(prompt, Generation.of(arguments)) for prompt, arguments in requests]
        ways: dict[Generation, list[str]] = {}
        for prompt, way in dict.fromkeys(wanted):
            if (prompt, way) not in self.completions:
                ways.setdefault(way, []).append(prompt)
        for way, prompts in ways.items():
            for prompt, completion in zip(prompts, self._decode(prompts, way), strict=True):
                self.completions[prompt, way] = completion
        return [
            _before_all(self.completions[prompt, way].text_without_calls, way.until)
            for prompt, way in wanted
        ]


def _before_all(text: str, until: Sequence[str]) -> str:
    """The decoder does not see a stop text with a call in its midst; the task would."""
    return min((text.partition(stop)[0] for stop in until), key=len, default=text)


def _refused(arguments: Mapping[str, Any], what: str, remedy: str) -> UnservedGenerationError:
    return UnservedGenerationError(
        f"The task asks for {what} (generation_kwargs: {dict(arguments)}). Decoding with calls is "
        f"greedy and takes until and max_gen_toks alone. {remedy}"
    )

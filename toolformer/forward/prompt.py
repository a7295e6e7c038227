"""A few-shot prompt cut at the slot of its text."""

from dataclasses import dataclass

from toolformer.forward.tokenization import Tokenizer

TEXT_SLOT = "{text}"


@dataclass(frozen=True, slots=True)
class SplitPrompt:
    """A prompt cut at its slot.

    Attributes:
        prefix: what stands before the text, without the space at its end.
        before_text: that space. It belongs to the first word of the text, because vocabularies
            hold ` word` as one token.
    """

    prefix: str
    before_text: str
    after_text: str

    @classmethod
    def of(cls, prompt: str) -> "SplitPrompt":
        """Cut a prompt that holds the slot exactly once; `tools.prompting` checks that."""
        before, _, after = prompt.partition(TEXT_SLOT)
        prefix = before.rstrip(" ")
        return cls(prefix, before[len(prefix) :], after)

    def shared_ids(self, tokenizer: Tokenizer) -> list[int]:
        """Tokens of the prefix, without a start token."""
        return tokenizer.encode(self.prefix)

    def text_part_ids(self, tokenizer: Tokenizer, text: str) -> list[int]:
        """What is fed for one text between the shared prefix and the text's own tokens."""
        return tokenizer.encode_behind(f"{self.before_text}{text}{self.after_text}")

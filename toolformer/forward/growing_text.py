"""The text of tokens that come one by one, of which each is decoded a few times at most."""

from toolformer.forward.tokenization import Tokenizer


class GrowingText:
    """At each token the text that `Tokenizer.decode` or `decode_behind` gives of all so far.

    Only the tokens since the last place at which that text divides are decoded again: those of a
    character, and those of a run of bytes in vocabularies of SentencePiece's kind.
    """

    def __init__(self, tokenizer: Tokenizer, *, is_behind: bool):
        self.tokens: list[int] = []
        self._tokenizer = tokenizer
        self._prefix = "" if is_behind else tokenizer.prefix
        self._settled = ""
        # The tokens behind what is settled, and their text.
        self._open: list[int] = []
        self._tail = ""

    @property
    def text(self) -> str:
        """The text so far."""
        return (self._settled + self._tail).removeprefix(self._prefix)

    @property
    def settled_characters(self) -> int:
        """How many characters of `text` no further token changes."""
        return len(self._settled.removeprefix(self._prefix))

    def add(self, token: int) -> None:
        """Add a token."""
        self.tokens.append(token)
        self._open.append(token)
        before, self._tail = self._tail, self._tokenizer.decode_behind(self._open)
        if self._tokenizer.divides(token) and (
            self._tail == before + self._tokenizer.token_text(token)
        ):
            self._settled += before
            self._open, self._tail = [token], self._tail[len(before) :]

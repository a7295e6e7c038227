"""NLLB-200 run by CTranslate2, which is faster on a processor and an optional package.

A directory as `ct2-transformers-converter` writes it, with the tokenizer beside it. Does not
convert a model.
"""

from typing import Any, ClassVar

from tools.errors import ToolUnavailableError
from tools.translation.languages import NLLB_ENGLISH
from tools.translation.nllb import NllbTranslator

WEIGHTS = "model.bin"


class CTranslate2Nllb(NllbTranslator):
    """A converted model: model.bin, config.json, its vocabulary, and tokenizer.json."""

    weight_patterns: ClassVar[tuple[str, ...]] = (WEIGHTS,)
    how_to_get_weights: ClassVar[str] = (
        "Run `ct2-transformers-converter --model NLLB_DIRECTORY --output_dir DIRECTORY "
        "--copy_files tokenizer.json tokenizer_config.json`, and name DIRECTORY in model_directory"
    )
    # CTranslate2 does not tell; all models of the family have so many positions.
    _POSITIONS = 1024

    def check_available(self) -> None:
        """Check that the package and the files are there.

        Raises:
            ToolUnavailableError: When something is missing.
        """
        import importlib.util

        if importlib.util.find_spec("ctranslate2") is None:
            raise ToolUnavailableError(
                self.tool_name,
                "the package ctranslate2 is not installed",
                "Run `pip install ctranslate2`, or give weights in safetensors",
            )
        super().check_available()

    def load(self) -> Any:
        """Load the converted weights."""
        import importlib

        ctranslate2 = importlib.import_module("ctranslate2")
        device, _, index = self.device().partition(":")
        return ctranslate2.Translator(
            str(self.directory),
            device=device,
            device_index=int(index or 0),
            compute_type=self.options.precision,
        )

    def generate(self, inputs: list[list[int]]) -> list[list[int]]:
        """Decode greedily or by beam search, with English forced as the first token."""
        tokenizer = self.tokenizer
        results = self.model.translate_batch(
            [tokenizer.convert_ids_to_tokens(ids) for ids in inputs],
            target_prefix=[[NLLB_ENGLISH]] * len(inputs),
            beam_size=self.options.beam_size,
            max_decoding_length=self.options.max_new_tokens,
            # The length was checked: nothing is cut silently.
            max_input_length=0,
        )
        return [tokenizer.convert_tokens_to_ids(each.hypotheses[0]) for each in results]

    def longest_input(self) -> int:
        """As many tokens as the model has positions."""
        return self._POSITIONS

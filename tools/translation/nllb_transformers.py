"""NLLB-200 run by transformers, from safetensors in a local directory.

Nothing is downloaded and no code of the directory is run. Does not choose the source language.
"""

from typing import Any, ClassVar

from tools.translation.languages import NLLB_ENGLISH
from tools.translation.nllb import NllbTranslator


class TransformersNllb(NllbTranslator):
    """A directory as `save_pretrained` writes it: config.json, tokenizer.json, *.safetensors."""

    weight_patterns: ClassVar[tuple[str, ...]] = ("*.safetensors",)
    how_to_get_weights: ClassVar[str] = (
        "Put NLLB-200 there as transformers saves it, with weights in safetensors; weights in "
        "another format are converted once by `save_pretrained` on a machine where you trust them"
    )

    def load(self) -> Any:
        """Load the weights.

        Raises:
            ValueError: When they lack tensors, which transformers would fill with random numbers.
        """
        import torch
        from transformers import M2M100ForConditionalGeneration
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()
        options = self.options
        loaded: Any = M2M100ForConditionalGeneration.from_pretrained(
            self.directory,
            dtype=getattr(torch, options.precision),
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
        model, information = loaded
        lacking = sorted(information["missing_keys"])
        if lacking:
            raise ValueError(f"the weights lack {len(lacking)} tensors, such as {lacking[0]}")
        vocabulary, known = len(self.tokenizer), model.config.vocab_size
        if vocabulary > known:
            raise ValueError(f"the tokenizer has {vocabulary} tokens, the model {known}")
        device = self.device()
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        return model.to(device).eval()

    def generate(self, inputs: list[list[int]]) -> list[list[int]]:
        """Decode greedily or by beam search, with English forced as the first token."""
        import torch
        from transformers import GenerationConfig

        config, options = self.model.config, self.options
        longest = max(map(len, inputs))
        padded = torch.full((len(inputs), longest), config.pad_token_id)
        mask = torch.zeros_like(padded)
        for row, ids in enumerate(inputs):
            padded[row, : len(ids)] = torch.tensor(ids)
            mask[row, : len(ids)] = 1
        with torch.inference_mode():
            generated = self.model.generate(
                input_ids=padded.to(self.model.device),
                attention_mask=mask.to(self.model.device),
                generation_config=GenerationConfig(
                    do_sample=False,
                    num_beams=options.beam_size,
                    max_new_tokens=options.max_new_tokens,
                    forced_bos_token_id=self.tokenizer.convert_tokens_to_ids(NLLB_ENGLISH),
                    decoder_start_token_id=config.decoder_start_token_id,
                    bos_token_id=config.bos_token_id,
                    eos_token_id=config.eos_token_id,
                    pad_token_id=config.pad_token_id,
                ),
            )
        return generated.tolist()

    def longest_input(self) -> int:
        """As many tokens as the model has positions."""
        return self.model.config.max_position_embeddings

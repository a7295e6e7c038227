"""A fusion-in-decoder checkpoint as a reader (Izacard and Grave, 2021), of the T5 family.

    question + passage 1 -> encoder -> states ┐
    question + passage 2 -> encoder -> states ┼─ one behind the other -> decoder -> answer
    question + passage 3 -> encoder -> states ┘

The decoder writes the answer freely, the likeliest token at each step. Weights are read from a
local directory and from safetensors only.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolformer.errors import ModelNotFoundError
from toolformer.files.loading import enough_memory, loading, prepare_transformers
from toolformer.forward.model_directory import (
    check_all_read,
    check_model_directory,
    check_weight_files,
)
from toolformer.forward.tokenization import open_tokenizer
from tools.errors import ToolDiedError, ToolUnavailableError
from tools.retrieval.retrieval_tool import Answer, StoredPassage

if TYPE_CHECKING:
    import torch

# As the published checkpoints were trained.
_FORM = "question: {question} title: {title} context: {text}"
_REMEDY = (
    "Set question_answering.reader in toolformer.yaml to the directory of a T5 checkpoint, or to "
    "language-model"
)


class FusionInDecoderReader:
    """A `tools.retrieval.retrieval_tool.Reader` that asks a T5 model.

    Args:
        directory: As `save_pretrained` writes it.
        device: Gives the device; called at the first question and not before.
        identity: Tells the checkpoint from others; called for the version.
        max_tokens: Maximum length of question and passage; longer ones are cut there.
        answer_tokens: Longest answer.
    """

    def __init__(
        self,
        directory: Path,
        *,
        device: Callable[[], str],
        identity: Callable[[], str],
        max_tokens: int,
        answer_tokens: int,
    ):
        self.directory = directory
        self._device = device
        self._identity = identity
        self._max_tokens = max_tokens
        self._answer_tokens = answer_tokens

    def version(self) -> str:
        """Settings and checkpoint."""
        return (
            f"fusion-in-decoder 1 max_tokens={self._max_tokens} "
            f"answer_tokens={self._answer_tokens} model={self._identity()}"
        )

    def check_available(self) -> None:
        """Check that there is a checkpoint, without loading it.

        Raises:
            ToolUnavailableError: When there is none.
        """
        try:
            check_model_directory(self.directory)
        except ModelNotFoundError as error:
            raise _unavailable(f"there is no reader in {self.directory}") from error

    def prepare(self) -> None:
        """Load the checkpoint, unless that was done.

        Raises:
            ToolUnavailableError: When it cannot be loaded.
        """
        with self._enough_memory():
            _ = self._loaded

    def read(self, requests: Sequence[tuple[str, Sequence[StoredPassage]]]) -> list[Answer | None]:
        """See `tools.retrieval.retrieval_tool.Reader`. Each question is computed by itself.

        Raises:
            ToolUnavailableError: When the checkpoint cannot be loaded.
            ToolDiedError: When the device's memory does not hold it and one question.
        """
        with self._enough_memory():
            return [
                self._read_one(question, passages) if passages else None
                for question, passages in requests
            ]

    def _enough_memory(self) -> AbstractContextManager[None]:
        return enough_memory(
            ToolDiedError,
            f"The memory of the device does not hold the reader in {self.directory} and the "
            "passages of one question. Lower tools.QA.options.passages, or set "
            "language_model.device to cpu.",
        )

    def _read_one(self, question: str, passages: Sequence[StoredPassage]) -> Answer | None:
        import torch
        from transformers.modeling_outputs import BaseModelOutput

        model, tokenizer = self._loaded
        encoded = tokenizer.encode_each(
            _FORM.format(question=question, title=passage["title"], text=passage["text"])
            for passage in passages
        )
        end = tokenizer.backend.eos_token_id
        fed = tokenizer.backend.pad(
            {"input_ids": [[*ids[: self._max_tokens - 1], end] for ids in encoded]},
            return_tensors="pt",
            verbose=False,
        ).to(model.device)
        with torch.inference_mode():
            states = model.get_encoder()(
                input_ids=fed["input_ids"], attention_mask=fed["attention_mask"]
            ).last_hidden_state
            fused = BaseModelOutput(last_hidden_state=states.reshape(1, -1, states.shape[-1]))
            tokens, log_probability = self._decoded(
                model, fused, fed["attention_mask"].reshape(1, -1)
            )
        text = " ".join(tokenizer.backend.decode(tokens, skip_special_tokens=True).split())
        return Answer(text, math.exp(log_probability)) if text else None

    def _decoded(self, model: Any, fused: Any, mask: "torch.Tensor") -> tuple[list[int], float]:
        """The likeliest tokens one after the other, and log p of them with the end."""
        import torch

        tokens = [int(model.config.decoder_start_token_id)]
        total = 0.0
        cache = None
        for _ in range(self._answer_tokens):
            output = model(
                encoder_outputs=fused,
                attention_mask=mask,
                decoder_input_ids=torch.tensor([tokens[-1:]], device=model.device),
                past_key_values=cache,
                use_cache=True,
            )
            cache = output.past_key_values
            log_probabilities = torch.log_softmax(output.logits[0, -1].float(), dim=-1)
            token = int(log_probabilities.argmax())
            total += float(log_probabilities[token])
            if token == model.config.eos_token_id:
                break
            tokens.append(token)
        return tokens[1:], total

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        prepare_transformers()
        from transformers import AutoModelForSeq2SeqLM

        self.check_available()
        with loading(f"the reader in {self.directory}", _unavailable):
            check_weight_files(self.directory)
            model, said = AutoModelForSeq2SeqLM.from_pretrained(
                self.directory,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
            check_all_read(model, said["unexpected_keys"], self.directory)
            tokenizer = open_tokenizer(self.directory)
        return model.to(self._device()).eval(), tokenizer


def _unavailable(reason: str) -> ToolUnavailableError:
    return ToolUnavailableError("QA", reason, _REMEDY)

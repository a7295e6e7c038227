"""The method as a good literal port implements it with stock transformers: our engine's baseline.

- Each sample has its full prompt. Left-padded batches are decoded by `generate` with its KV cache.
- Each call is scored with all three losses, in batches of `[BOS] + z + x[:p+5]` with logits of the
  whole vocabulary at every token.
- In a later round the start token replaces the prompt, and a scored row is
  `[BOS] + x[:p] + z + x[p:p+5]`.
- Positions come from one pass over prompt and text, as in any literal port.

The baseline uses the model's stock attention (SDPA) and only pure functions of our engine.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedModel

from benchmarks.workload import SAMPLING, ToolWorkload, accept_arguments
from toolformer.calls import call_ids, call_open_id
from toolformer.filtering import CallLosses
from toolformer.forward.tokenization import Tokenizer
from toolformer.forward.windows import Window
from toolformer.loss_weights import weighted_loss
from toolformer.positions import choose_positions
from toolformer.samples import SampledCall, forced_text, parse_samples
from toolformer.sampling import allowed_positions
from toolformer.scoring.call_scorer import ScoredCall
from toolformer.settings.annotation_sections import ScoringSettings
from tools.prompting import SLOT

BATCH_SIZE = 16
_STOP_MARKS = (")", "]")


@dataclass(frozen=True, slots=True)
class _Row:
    """A sequence to score. The scored text starts at `begin` and ends with the sequence."""

    ids: list[int]
    begin: int


@dataclass(frozen=True, slots=True)
class Context:
    """A chosen position with its p_i and the tokens before a sample: prompt, text, ` [Tool(`."""

    document: Window
    position: int
    call_probability: float
    ids: list[int]


class LiteralEngine:
    """A stock model that samples and scores full rows; `tokens_fed` includes padding."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: Tokenizer,
        *,
        bos_id: int,
        batch_size: int = BATCH_SIZE,
    ):
        self._model: Any = model.eval()
        self._tokenizer = tokenizer
        self._bos_id = bos_id
        self.batch_size = batch_size
        self.tokens_fed = 0
        self._stop_ids = stop_token_ids(tokenizer)
        model.base_model.register_forward_pre_hook(self._count, with_kwargs=True)

    def _count(self, _body: Any, _args: Any, kwargs: dict[str, Any]) -> None:
        self.tokens_fed += kwargs["input_ids"].numel()

    @torch.inference_mode()
    def contexts(self, tool: ToolWorkload, documents: Sequence[Window]) -> list[Context]:
        """Return the k positions of every document, with the tokens before a sample there."""
        forced = self._tokenizer.encode_pieces(forced_text(tool.name, is_constrained=True))
        found = []
        for document in documents:
            prompt = [self._bos_id]
            if tool.prompt is not None:
                prompt = self._tokenizer.encode(tool.prompt.replace(SLOT, document.text))
            probabilities = self._call_probabilities(prompt, list(document.ids))
            for position in choose_positions(
                probabilities,
                sampling_threshold=tool.settings.sampling_threshold,
                positions_per_text=tool.positions_per_text,
                is_allowed=allowed_positions(document),
            ):
                ids = [*prompt, *document.ids[:position], *forced]
                found.append(Context(document, position, probabilities[position], ids))
        return found

    @torch.inference_mode()
    def sample(self, tool: ToolWorkload, contexts: Sequence[Context]) -> list[SampledCall]:
        """Return m samples per context; each sample is a row with its whole context."""
        owners = [number for number in range(len(contexts)) for _ in range(tool.calls_per_position)]
        torch.manual_seed(SAMPLING.seed)
        texts: dict[int, list[str]] = {}
        for start in range(0, len(owners), self.batch_size):
            batch = owners[start : start + self.batch_size]
            sampled = self._generate([contexts[number].ids for number in batch])
            for number, text in zip(batch, sampled, strict=True):
                texts.setdefault(number, []).append(text)
        return [
            sample
            for number, of_context in texts.items()
            for sample in parse_samples(
                contexts[number].document,
                contexts[number].position,
                contexts[number].call_probability,
                of_context,
                tool_name=tool.name,
                parse_arguments=accept_arguments,
                sampling=SAMPLING,
            )
        ]

    def _call_probabilities(self, prompt: list[int], ids: list[int]) -> list[float]:
        row = torch.tensor([prompt + ids])
        logits = self._model(input_ids=row, use_cache=False).logits[0]
        of_text = logits[len(prompt) - 1 : -1].float()
        open_id = call_open_id(self._tokenizer)
        return of_text.softmax(dim=-1)[:, open_id].tolist()

    def _generate(self, contexts: Sequence[list[int]]) -> list[str]:
        input_ids, attention_mask = self._padded(contexts, on_the_left=True)
        output = self._model.generate(
            input_ids=input_ids,
            attention_mask=attention_mask,
            generation_config=GenerationConfig(
                do_sample=True,
                temperature=SAMPLING.temperature,
                top_k=0,
                top_p=1.0,
                max_new_tokens=SAMPLING.max_new_tokens,
                eos_token_id=self._stop_ids,
                pad_token_id=self._bos_id,
            ),
        )
        stops = set(self._stop_ids)
        texts = []
        for row in output[:, input_ids.shape[1] :].tolist():
            end = next((index + 1 for index, token in enumerate(row) if token in stops), len(row))
            texts.append(self._tokenizer.decode(row[:end]))
        return texts

    @torch.inference_mode()
    def score(
        self,
        documents: Sequence[Window],
        calls: Sequence[ScoredCall],
        *,
        is_sorted: bool = False,
        scoring: ScoringSettings,
    ) -> dict[str, CallLosses]:
        """Return all three losses of every call, with rows sorted by length if `is_sorted`."""
        windows = {(window.document_id, window.index): window for window in documents}
        rows = [row for call in calls for row in self._rows_of(call, windows[call.window], scoring)]
        order = list(range(len(rows)))
        if is_sorted:
            order.sort(key=lambda index: -len(rows[index].ids))
        losses = [0.0] * len(rows)
        for start in range(0, len(rows), self.batch_size):
            batch = order[start : start + self.batch_size]
            of_batch = self._row_losses([rows[index] for index in batch], scoring)
            for index, loss in zip(batch, of_batch, strict=True):
                losses[index] = loss
        of_call = iter(losses)
        return {
            call.call_id: CallLosses(
                loss_without_call=next(of_call),
                loss_call_without_result=next(of_call),
                loss_with_result=next(of_call),
                tokens_used=scoring.tokens_used(len(windows[call.window].ids), call.position),
            )
            for call in calls
        }

    def _rows_of(self, call: ScoredCall, window: Window, scoring: ScoringSettings) -> list[_Row]:
        prefixes = [
            [],
            call_ids(self._tokenizer, call.call, None),
            call_ids(self._tokenizer, call.call, call.result),
        ]
        text = list(window.ids[: call.position + len(scoring.token_weights)])
        offset = call.position if scoring.placement == "inline" else 0
        return [
            _Row(
                [self._bos_id, *text[:offset], *prefix, *text[offset:]],
                begin=1 + len(prefix) + call.position,
            )
            for prefix in prefixes
        ]

    def _row_losses(self, rows: Sequence[_Row], scoring: ScoringSettings) -> list[float]:
        input_ids, attention_mask = self._padded([row.ids for row in rows], on_the_left=False)
        logits = self._model(
            input_ids=input_ids, attention_mask=attention_mask, use_cache=False
        ).logits
        losses = []
        for index, row in enumerate(rows):
            predicted = logits[index, row.begin - 1 : len(row.ids) - 1].float().log_softmax(dim=-1)
            tokens = torch.tensor(row.ids[row.begin :])
            of_tokens = (-predicted.gather(1, tokens[:, None])[:, 0]).tolist()
            losses.append(weighted_loss(of_tokens, scoring.token_weights))
        return losses

    def _padded(
        self, rows: Sequence[list[int]], *, on_the_left: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        pad = partial(pad_sequence, batch_first=True, padding_side=("right", "left")[on_the_left])
        input_ids = pad([torch.tensor(row) for row in rows], padding_value=self._bos_id)
        return input_ids, pad([torch.ones(len(row), dtype=torch.long) for row in rows])


def stop_token_ids(tokenizer: Tokenizer) -> list[int]:
    """Return the tokens that end a sample: all tokens that contain `)` or `]`."""
    return [
        token
        for token in range(tokenizer.vocabulary_size)
        if any(mark in tokenizer.token_text(token) for mark in _STOP_MARKS)
    ]


def load_stock_model(path: Path, *, precision: str) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(
        path,
        dtype=getattr(torch, precision),
        use_safetensors=True,
        trust_remote_code=False,
        attn_implementation="sdpa",
    )

"""Small stand-ins for a language model: no weights, no download.

`byte_tokenizer` is a real byte-level tokenizer with a handful of merges, and `TOKENIZERS` has a
small one of each kind of vocabulary. `tiny_model` is a Llama of
random weights; `taught_model` has learned some texts. `ScriptedModel` says what a test wants it to
say; it reads its context from the attention mask, so a key that is wrongly visible or hidden
changes what it says.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from tokenizers import Tokenizer as BackendTokenizer
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from toolformer.decoding.completions import BY_RANK_ONLY, Decoding, MinCallProbability
from toolformer.forward.language_model import LanguageModel
from toolformer.forward.tokenization import Tokenizer
from toolformer.settings.annotation_sections import DecodingSettings, SamplingSettings
from toolformer.settings.tool_sections import ToolSettings

# Two short samples at each of two positions.
TOOL = ToolSettings(sampling_threshold=0.0, positions_per_text=2, calls_per_position=2)
SAMPLING = SamplingSettings(max_new_tokens=8, seed=7)
START, END = "<|endoftext|>", "<|im_end|>"
# Pairs as the vocabulary writes them: Ġ is the space.
_MERGES = [("Ġ", "["), ("-", ">"), ("Ġ", "->"), (")", "]"), ("Q", "A"), ("a", "l"), ("C", "al")]


def byte_tokenizer(*, has_opening: bool = True, composes: bool = False) -> Tokenizer:
    """One token per byte, but for the call markers, `QA`, `al` and `Cal`.

    Args:
        has_opening: ` [` is one token.
        composes: behind NFC, as Qwen's.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    names = [START, END, *alphabet, *("".join(pair) for pair in _MERGES)]
    backend = BackendTokenizer(
        models.BPE(
            vocab={name: place for place, name in enumerate(names)},
            merges=_MERGES[not has_opening :],
        )
    )
    if composes:
        backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return _wrapped(backend)


def piece_tokenizer(prefix: str | None, *, puts_start: bool = False) -> Tokenizer:
    """One token per character, or per byte of those that are no ASCII, as SentencePiece has it.

    Some words begin with a space, and so do the call markers.

    Args:
        prefix: what puts a space in front of a text: `Prepend` as in Llama 2, `Metaspace` as in
            later exports of the same, None as in Gemma.
        puts_start: the start token stands in front of a text.
    """
    alphabet = [chr(code) for code in range(33, 127)]
    pairs = [(each.replace("Ġ", "▁"), other) for each, other in _MERGES]
    pairs += [("▁", letter) for letter in "CTabemnst"]
    spaced = ["▁", *("".join(pair) for pair in pairs)]
    names = [START, END, *(f"<0x{byte:02X}>" for byte in range(256)), *alphabet, *spaced]
    backend = BackendTokenizer(
        models.BPE(
            vocab={name: place for place, name in enumerate(names)},
            merges=pairs,
            byte_fallback=True,
        )
    )
    steps: list[Any] = [normalizers.Replace(" ", "▁")]
    if prefix == "Prepend":
        steps.insert(0, normalizers.Prepend("▁"))
    if prefix == "Metaspace":
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    else:
        backend.normalizer = normalizers.Sequence(steps)
    strip = [decoders.Strip(" ", 1, 0)] if prefix else []
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    )
    if puts_start:
        backend.post_processor = processors.TemplateProcessing(
            single=f"{START} $A", special_tokens=[(START, 0)]
        )
    return _wrapped(backend)


def _wrapped(backend: BackendTokenizer) -> Tokenizer:
    return Tokenizer(
        PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=START, eos_token=END)
    )


TOKENIZERS = {
    "bytes": byte_tokenizer,
    "bytes behind NFC": partial(byte_tokenizer, composes=True),
    "pieces with Prepend": partial(piece_tokenizer, "Prepend", puts_start=True),
    "pieces with Metaspace": partial(piece_tokenizer, "Metaspace"),
    "pieces without prefix": partial(piece_tokenizer, None, puts_start=True),
}


def tiny_model(
    *, seed: int = 0, context_length: int = 512, tokenizer: Tokenizer | None = None, width: int = 32
) -> LanguageModel:
    """Two random layers in float32 on the processor."""
    tokenizer = tokenizer or byte_tokenizer()
    config = LlamaConfig(
        vocab_size=tokenizer.vocabulary_size,
        hidden_size=width,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=context_length,
        bos_token_id=0,
        eos_token_id=1,
        initializer_range=0.3,
    )
    state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    model = LlamaForCausalLM(config)
    torch.random.set_rng_state(state)
    return LanguageModel(model, tokenizer, name="tiny")


def save_tiny_model(folder: Path, **options: Any) -> Path:
    """Save what `tiny_model` makes with these options as a model directory; the folder again."""
    return _saved(tiny_model(**options), folder)


def _saved(model: LanguageModel, folder: Path) -> Path:
    model.model.save_pretrained(folder)
    model.tokenizer.backend.save_pretrained(folder)
    return folder


def taught_model(lessons: Sequence[str], **options: Any) -> LanguageModel:
    """A tiny network, of `tiny_model`'s options, that knows the lessons by heart."""
    model = tiny_model(seed=1, **options)
    rows = [[0, *model.tokenizer.encode(text), 1] for text in lessons]
    width = max(map(len, rows))
    ids = torch.tensor([row + [1] * (width - len(row)) for row in rows])
    optimiser = torch.optim.Adam(model.model.parameters(), lr=1e-2)
    for _ in range(120):
        optimiser.zero_grad()
        model.model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
        optimiser.step()
    return model


def save_taught_model(folder: Path, lessons: Sequence[str]) -> Path:
    """Such a network as a model directory; the folder again."""
    taught = taught_model(lessons)
    taught.tokenizer.backend.pad_token = END
    return _saved(taught, folder)


def save_calling_model(folder: Path) -> Path:
    """Save a random model that likes digits, signs and brackets; the folder again.

    What it writes are often calls that the tools can answer, so that calls are kept and every stage
    of a build has rows. Dimension 0 of every embedding is large, so it is nearly the same in every
    hidden state, and column 0 of the head adds a constant to the score of each token.
    """
    tiny = tiny_model(context_length=2048)
    tokenizer, network = tiny.tokenizer.backend, tiny.model
    liked = {**dict.fromkeys("0123456789", 5.0), **dict.fromkeys("+-*", 5.0), ")": 6.0, " [": 3.0}
    with torch.no_grad():
        network.model.embed_tokens.weight[:, 0] = 8.0
        network.lm_head.weight[:, 0] = 0.0
        for text, weight in liked.items():
            (token,) = tokenizer.encode(text, add_special_tokens=False)
            network.lm_head.weight[token, 0] = weight
    return _saved(tiny, folder)


class ScriptedModel:
    """Behaves as `LanguageModel` for decoding, and wants to write given texts.

    Behind a context it ranks the next tokens of all texts that begin with it, in the order of the
    texts; behind a whole text it ends. `open_ranks` puts ` [` at a rank, from 1, behind a context.
    """

    name = "scripted"
    bos_id = 0
    is_plain = False
    prompt_start: Sequence[int] = ()
    end_ids = frozenset({0, 1})
    precision = "float32"
    contexts, rows_at_once = LanguageModel.contexts, LanguageModel.rows_at_once
    ask_while = LanguageModel.ask_while

    def __init__(self, texts: Sequence[str], open_ranks: Mapping[str, int] | None = None):
        self.tokenizer = byte_tokenizer()
        self.context_length = 4096
        self.key_bytes = 16
        self.device = torch.device("cpu")
        self.model = SimpleNamespace(dtype=torch.float32)
        # Zero where a key is visible.
        self.kinds = SimpleNamespace(masks=lambda v, *_: torch.where(v, 0.0, -1.0)[:, None])
        self.asked: list[str] = []
        self._texts = list(texts)
        self._open_ranks = dict(open_ranks or {})

    def hidden_states(self, input_ids, *, cache, attention_mask, position_ids):
        """Logits instead of hidden states, each from what its token may see."""
        # Rows that stand alike have one line of positions, and one mask.
        position_ids = position_ids.expand_as(input_ids)
        attention_mask = attention_mask.expand(len(input_ids), -1, -1, -1)
        held = torch.stack([input_ids, position_ids], dim=-1)[:, None].float()
        keys, _ = cache.update(held, held, 0)
        hidden = torch.zeros((*input_ids.shape, self.tokenizer.vocabulary_size))
        for row, slot in torch.cartesian_prod(*map(torch.arange, input_ids.shape)).tolist():
            visible = keys[row, 0][attention_mask[row, 0, slot] == 0].long().tolist()
            tokens = [token for token, _ in sorted(visible, key=lambda key: key[1])]
            if [place for _, place in visible] == list(range(len(visible))) and tokens[0] == 0:
                hidden[row, slot] = self._scores(self.tokenizer.decode(tokens[1:]))
        return hidden

    def logits(self, hidden_states):
        return hidden_states

    def _scores(self, context: str) -> torch.Tensor:
        self.asked.append(context)
        # A model writes special tokens, which text never becomes.
        encode = partial(self.tokenizer.backend.encode, add_special_tokens=False)
        rests = [text[len(context) :] for text in self._texts if text.startswith(context)]
        ranked = list(dict.fromkeys(encode(rest)[0] if rest else 1 for rest in rests))
        if context in self._open_ranks:
            (open_id,) = encode(" [")
            fillers = [token for token in range(100, 200) if token not in ranked]
            others = [token for token in [*ranked, *fillers] if token != open_id]
            others.insert(self._open_ranks[context] - 1, open_id)
            ranked = others
        scores = torch.full((self.tokenizer.vocabulary_size,), -100.0)
        # Less than all others: equal ones share their rank.
        scores[encode(" [")] = -101.0
        scores[ranked] = -torch.arange(len(ranked), dtype=torch.float32)
        return scores


def decoding_with(
    *,
    max_result_tokens: int = 128,
    tools: tuple[str, ...] = ("Calculator", "QA"),
    blocked_tools: tuple[str, ...] = (),
    min_call_probability: MinCallProbability = BY_RANK_ONLY,
    **settings: int,
) -> Decoding:
    """One attempt at a call of one of two tools in a short text, but for what is given."""
    section = DecodingSettings(**{"max_new_tokens": 40, "call_attempts": 1, **settings})
    return Decoding(section, max_result_tokens, tools, blocked_tools, min_call_probability)

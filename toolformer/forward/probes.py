"""Probes what a model class supports, with passes over a few tokens.

If a fast way to feed a model yields the numbers of its own whole forward pass, it is used.
Otherwise the model is fed on the plain path. Class names play no role.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from toolformer.base.loading import is_out_of_memory, loading
from toolformer.errors import ModelNotFoundError
from toolformer.forward.attention_masks import AttentionKinds, small_window
from toolformer.forward.model_directory import refused
from toolformer.forward.network import Network
from toolformer.forward.own_rows import OwnRows
from toolformer.forward.precision import FLOAT16
from toolformer.forward.shared_rows import SharedRows

_LOGGER = logging.getLogger(__name__)
# Maximum relative distance of states that should be equal, averaged over tokens, by precision.
# Rounding over many layers stays well below. A wrong mask or position id shifts states by a fifth
# or more.
_TOLERANCES = {"float32": 1e-4, "bfloat16": 0.08, "float16": 0.02}
# Shorter than a probe, so that a layer that ignores its window is detected.
_WINDOW = 3
# Numbers of tokens of the shared text and of each branch.
_SHARED, _BRANCH = 6, 4
# The second branch is stored after a gap in the cache, which must not count as distance. So its
# error may be at most _TIMES_ROUNDING times the first branch's, plus _ROUNDINGS machine epsilons.
_TIMES_ROUNDING, _ROUNDINGS = 4, 3
# Size of the search for activations that overflow in float16. A processor that emulates float16
# computes only about 20 tokens per second.
_OVERFLOW_TOKENS = {"cpu": 128, "cuda": 2048}
_SHORT_ROW_TOKENS = 16


def probe(model: Network) -> None:
    """Determine how to feed a model, or raise ModelNotFoundError if it cannot be used."""
    # Model classes raise arbitrary errors for inputs that they do not support.
    with loading(f"The {type(model.model).__name__} {model.name!r}", refused):
        _check_causal(model)
        _find_head(model)
        if model.precision == FLOAT16:
            _check_overflow(model)
        kinds = _shared_kinds(model)
        model.is_plain, model.kinds = kinds is None, kinds or AttentionKinds({"": None})
        if model.is_plain:
            model.can_pad_cache = False
            model.can_copy_cache = _can_continue(model, [5, 5])
            model.can_pad_cache = True
            model.can_pad_cache = model.can_copy_cache and _can_continue(model, [7, 2, 5])
        model.key_bytes = _bytes_per_token(model)
    if model.is_plain:
        _LOGGER.warning(
            "Continuations cannot share the KV cache of %s. It is fed on the plain path, with one "
            "row per context and continuation. Results are correct, but several times slower.",
            model.name,
        )
    model.tokens_fed = 0


def _check_causal(model: Network) -> None:
    """Raise `ModelNotFoundError` if tokens see later tokens, such as right padding."""
    row = _probe_row(model, 7)
    with torch.inference_mode():
        logits = model.model(input_ids=_batch(model, [row, row[:4] + row[1:5]]), use_cache=False)
        both = logits.logits.float()
        alone = model.model(input_ids=_batch(model, [row[:4]]), use_cache=False).logits.float()
    model.check_finite(both)
    # Skip the first token, whose embedding may be all zeros.
    if not _are_close(model, both[:, 1:4], alone[:, 1:].expand(2, -1, -1)):
        raise ModelNotFoundError(
            f"The model class {type(model.model).__name__} lets tokens see later tokens. Expected "
            "a causal language model, which predicts each token only from the tokens before it."
        )


def _find_head(model: Network) -> None:
    """Set `logits_source`, the way in which the last states become logits.

    A model that scales or caps logits needs its own forward pass. If the states do not determine
    the logits, the logits are kept per token instead.
    """
    ids = _batch(model, [_probe_row(model, 3)])
    # Strict, because a cap far above the probe's logits shifts them less than those of other texts.
    atol, rtol = (1e-5, 1e-4) if model.precision == "float32" else (1e-3, 1e-3)
    with torch.inference_mode():
        whole = model.model(input_ids=ids, use_cache=False).logits.float()
        model.check_finite(whole)
        for model.logits_source in ("layer", "model"):
            with _ignoring_failure():
                logits = model.logits(model.hidden_states(ids))
                if torch.allclose(logits, whole, atol=atol, rtol=rtol):
                    return
    model.logits_source = "states"


def _check_overflow(model: Network) -> None:
    """Raise OverflowingModelError if a long row or short rows of varied tokens overflow.

    The largest activations occur at the first positions and for the most frequent tokens, which
    have the lowest ids in most vocabularies.
    """
    size = model.text_config.vocab_size
    count = _OVERFLOW_TOKENS.get(model.device.type, 2048)
    tokens = [*range(min(size, count)), *range(0, size, max(1, size // count))]
    length = min(count, model.context_length - 1)
    short = min(_SHORT_ROW_TOKENS, len(tokens))
    starts = range(0, len(tokens) - short + 1, short)
    with torch.inference_mode():
        for rows in ([tokens[-length:]], [tokens[start : start + short] for start in starts]):
            ids = torch.tensor([[model.bos_id, *row] for row in rows], device=model.device)
            states = model.hidden_states(ids).flatten(0, 1)
            model.check_finite(states)
            for piece in states.split(8 * short):
                model.check_finite(model.logits(piece))


def _shared_kinds(model: Network) -> AttentionKinds | None:
    """Return masks with which branches can share the KV cache of their text, if there are any."""
    for kinds in AttentionKinds.of(model.text_config):
        with _ignoring_failure():
            windows = {kind: own and _WINDOW for kind, own in kinds.windows.items()}
            model.kinds = AttentionKinds(windows)
            if _are_keys_shared(model):
                return kinds
    return None


def _are_keys_shared(model: Network) -> bool:
    row = _probe_row(model, _SHARED + 2 * _BRANCH)
    shared, first, second = row[: -2 * _BRANCH], row[-2 * _BRANCH : -_BRANCH], row[-_BRANCH:]
    with torch.inference_mode(), small_window(model.text_config, _WINDOW):
        expected = model.hidden_states(_batch(model, [shared + first, shared + second]))
        expected = expected[:, len(shared) :]
        rows = SharedRows(model, 2)
        rows.read([shared, shared])
        rows = rows.fork([0, 0, 1, 1], shares=True)
        *_, of_first, of_second = rows.read([first, second, first, second])
    rounding, behind_gap = _distance(of_first, expected[0]), _distance(of_second, expected[1])
    least = max(_TOLERANCES["float32"], _ROUNDINGS * torch.finfo(model.model.dtype).eps)
    is_shared = behind_gap < _TIMES_ROUNDING * rounding + least
    return is_shared and _are_close(model, torch.stack([of_first, of_second]), expected)


def _can_continue(model: Network, lengths: Sequence[int]) -> bool:
    """Return whether rows can continue from copies of the model's own cache.

    Each row is first fed `lengths` tokens alone, then all rows are fed as one batch.
    """
    opening, *texts = (_probe_row(model, 14)[at:][:12] for at in range(1 + len(lengths)))
    begun = [text[:length] for text, length in zip(texts, lengths, strict=True)]
    with _ignoring_failure(), torch.inference_mode(), small_window(model.text_config, _WINDOW):
        whole = model.hidden_states(_batch(model, [opening + text for text in texts]))
        whole = whole[:, len(opening) :]
        opened = OwnRows(model, 1)
        opened.feed([opening])
        read = opened.fork([0] * len(texts)).read(begun)
        apart = [opened.fork([0]) for _ in texts]
        for row, tokens in zip(apart, begun, strict=True):
            row.feed([tokens])
        rows, order = apart[0].join(apart[1:]), list(range(len(texts)))
        states = [each[-2:] for each in read]
        expected = [each[:length][-2:] for each, length in zip(whole, lengths, strict=True)]
        # Some classes compute a single token differently from several.
        for count in (1, 2, 1):
            starts = [rows.length(row) - len(opening) for row in range(len(order))]
            offsets = list(zip(order, starts, strict=True))
            states.append(rows.feed([texts[at][start : start + count] for at, start in offsets]))
            expected += [whole[at, start + count - 1][None] for at, start in offsets]
            rows = rows.fork([len(order) - 1, len(order) - 2], shares=True)
            order = order[:-3:-1]
        return _are_close(model, torch.cat(states), torch.cat(expected))
    return False


@contextmanager
def _ignoring_failure() -> Iterator[None]:
    """Suppress any error in the block except out of memory: the model class does not support it."""
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error):
            raise


def _bytes_per_token(model: Network) -> int:
    """Return how many bytes the model's own cache grows per token; at least 1."""
    with torch.inference_mode():
        caches = [model.own_states(_batch(model, [_probe_row(model, at)]))[1] for at in (4, 8)]
    fewer, more = (
        sum(
            state.nbytes
            for layer in (cache.layers if cache is not None else ())
            for value in vars(layer).values()
            for state in (value.values() if isinstance(value, dict) else (value,))
            if hasattr(state, "nbytes")
        )
        for cache in caches
    )
    return max(1, (more - fewer) // 4)


def _are_close(model: Network, states: torch.Tensor, expected: torch.Tensor) -> bool:
    return _distance(states, expected) < _TOLERANCES[model.precision]


def _distance(states: torch.Tensor, expected: torch.Tensor) -> float:
    distances = (states - expected).float().norm(dim=-1) / expected.float().norm(dim=-1)
    return float(distances.mean())


def _probe_row(model: Network, length: int) -> list[int]:
    """Return the start token and `length` tokens from all over the vocabulary."""
    vocabulary = model.text_config.vocab_size
    return [
        model.bos_id,
        *((7919 * length + 104729 * position) % vocabulary for position in range(length)),
    ]


def _batch(model: Network, rows: Sequence[Sequence[int]]) -> torch.Tensor:
    return torch.tensor(rows, device=model.device)

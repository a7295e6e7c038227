"""What a model class can do, found out by passes over a few tokens.

Model classes differ in what lies between their last states and their logits, in the masks that they
take, and in what their caches keep. None of it is asked by name: a class that gives the numbers of
its own whole forward pass is served so, and one that does not on the plain path.
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
# How far apart states that should be equal may lie: the mean over tokens of the relative distance,
# by precision. Rounding of many layers stays well below; a token that sees the wrong ones, or
# stands at the wrong place, is off by a fifth and more.
_TOLERANCES = {"float32": 1e-4, "bfloat16": 0.08, "float16": 0.02}
# Fewer tokens than a probe has, so that a window that is not kept shows.
_WINDOW = 3
_SHARED, _BRANCH = 6, 4
# By how much more than rounding moves the first branch the second may be moved: that one stands
# behind a gap, which a class must not count as distance.
_TIMES_ROUNDING, _ROUNDINGS = 4, 3
# Of the search for activations that float16 does not hold.
# A processor that only emulates it computes some 20 tokens a second.
_TOKENS_OF_CHECK = {"cpu": 128, "cuda": 2048}
_TOKENS_OF_SHORT_ROW = 16


def probe(model: Network) -> None:
    """Find out how a model is to be fed.

    Raises:
        ModelNotFoundError: it cannot be used.
        OverflowingModelError: of these, one that gives numbers that are not finite.
    """
    # A class may raise whatever it likes about tokens that it cannot be fed.
    with loading(f"The {type(model.model).__name__} {model.name!r}", refused):
        _check_causal(model)
        _find_head(model)
        if model.precision == FLOAT16:
            _check_overflow(model)
        kinds = _shared_kinds(model)
        model.is_plain, model.kinds = kinds is None, kinds or AttentionKinds({"": None})
        if model.is_plain:
            model.can_pad_cache = False
            model.can_copy_cache = _goes_on(model, [5, 5])
            model.can_pad_cache = True
            model.can_pad_cache = model.can_copy_cache and _goes_on(model, [7, 2, 5])
        model.key_bytes = _bytes_of_token(model)
    if model.is_plain:
        _LOGGER.warning(
            "%s is fed on the plain path, a row for each context and continuation: right, and "
            "several times slower than models of keys that continuations share",
            model.name,
        )
    model.tokens_fed = 0


def _check_causal(model: Network) -> None:
    """A token must not see what stands behind it: rows are padded there.

    Raises:
        ModelNotFoundError: the logits change with what stands behind.
        OverflowingModelError: they are not finite.
    """
    row = _probe_row(model, 7)
    with torch.inference_mode():
        logits = model.model(input_ids=_batch(model, [row, row[:4] + row[1:5]]), use_cache=False)
        both = logits.logits.float()
        alone = model.model(input_ids=_batch(model, [row[:4]]), use_cache=False).logits.float()
    model.check_finite(both)
    # Behind the first, whose embedding may be all zeros.
    if not _are_close(model, both[:, 1:4], alone[:, 1:].expand(2, -1, -1)):
        raise ModelNotFoundError(
            f"The model class {type(model.model).__name__} lets tokens see what stands behind "
            "them. Expected a causal language model, which predicts each token from those before."
        )


def _find_head(model: Network) -> None:
    """Find out how the last states become logits.

    By the output layer; by the model's own forward pass, where it scales or caps them; or not
    from the states alone. The logits are then what is kept of each token instead.
    """
    ids = _batch(model, [_probe_row(model, 3)])
    # A cap far above the probe's logits moves them little, and those of other texts more.
    atol, rtol = (1e-5, 1e-4) if model.precision == "float32" else (1e-3, 1e-3)
    with torch.inference_mode():
        whole = model.model(input_ids=ids, use_cache=False).logits.float()
        model.check_finite(whole)
        for model.logits_source in ("layer", "model"):
            with _unserved():
                logits = model.logits(model.hidden_states(ids))
                if torch.allclose(logits, whole, atol=atol, rtol=rtol):
                    return
    model.logits_source = "states"


def _check_overflow(model: Network) -> None:
    """Feed a row as long as a window, and short ones, of tokens from all over the vocabulary.

    The largest activations stand at the first positions and at the commonest tokens, which have the
    lowest numbers in most vocabularies.

    Raises:
        OverflowingModelError: states or logits are not finite.
    """
    size = model.text_config.vocab_size
    count = _TOKENS_OF_CHECK.get(model.device.type, 2048)
    tokens = [*range(min(size, count)), *range(0, size, max(1, size // count))]
    length = min(count, model.context_length - 1)
    short = min(_TOKENS_OF_SHORT_ROW, len(tokens))
    starts = range(0, len(tokens) - short + 1, short)
    with torch.inference_mode():
        for rows in ([tokens[-length:]], [tokens[start : start + short] for start in starts]):
            ids = torch.tensor([[model.bos_id, *row] for row in rows], device=model.device)
            states = model.hidden_states(ids).flatten(0, 1)
            model.check_finite(states)
            for piece in states.split(8 * short):
                model.check_finite(model.logits(piece))


def _shared_kinds(model: Network) -> AttentionKinds | None:
    """By which masks branches can go on side by side behind the keys of a text that they share.

    None where no masks give what each branch gives alone, as with layers that keep states instead
    of keys.
    """
    for kinds in AttentionKinds.of(model.text_config):
        with _unserved():
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


def _goes_on(model: Network, lengths: Sequence[int]) -> bool:
    """Whether rows can go on, some tokens at a time, behind copies of the model's own cache.

    Args:
        lengths: how many tokens are fed to rows apart, before the rows are fed together.
    """
    opening, *texts = (_probe_row(model, 14)[at:][:12] for at in range(1 + len(lengths)))
    begun = [text[:length] for text, length in zip(texts, lengths, strict=True)]
    with _unserved(), torch.inference_mode(), small_window(model.text_config, _WINDOW):
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
        # Some classes compute a single token in another way than several.
        for count in (1, 2, 1):
            starts = [rows.length(row) - len(opening) for row in range(len(order))]
            places = list(zip(order, starts, strict=True))
            states.append(rows.feed([texts[at][start : start + count] for at, start in places]))
            expected += [whole[at, start + count - 1][None] for at, start in places]
            rows = rows.fork([len(order) - 1, len(order) - 2], shares=True)
            order = order[:-3:-1]
        return _are_close(model, torch.cat(states), torch.cat(expected))
    return False


@contextmanager
def _unserved() -> Iterator[None]:
    """Goes on behind the block where a class is not made for what it is asked there.

    It may raise whatever it likes then. Out of memory is another matter.
    """
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error):
            raise


def _bytes_of_token(model: Network) -> int:
    """How much the model's own cache grows with a token, in bytes; at least 1."""
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
    """Whether states differ by no more than rounding, in the precision of the model."""
    return _distance(states, expected) < _TOLERANCES[model.precision]


def _distance(states: torch.Tensor, expected: torch.Tensor) -> float:
    distances = (states - expected).float().norm(dim=-1) / expected.float().norm(dim=-1)
    return float(distances.mean())


def _probe_row(model: Network, length: int) -> list[int]:
    """The start token, and so many tokens from all over the vocabulary."""
    vocabulary = model.text_config.vocab_size
    return [
        model.bos_id,
        *((7919 * length + 104729 * position) % vocabulary for position in range(length)),
    ]


def _batch(model: Network, rows: Sequence[Sequence[int]]) -> torch.Tensor:
    return torch.tensor(rows, device=model.device)

"""The windows of C without calls, as training and calibration draw from them.

Does not choose among them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

from assets.shard_texts import contexts_in, documents_in, windows_of
from toolformer.errors import ToolformerError
from toolformer.forward.tokenization import Tokenizer
from toolformer.training.augmented_text import AugmentedText, TextKey
from warehouse.warehouse import Warehouse


def windows_without_calls(
    warehouse: Warehouse,
    shards: Sequence[str],
    tokenizer: Tokenizer,
    *,
    with_calls: Mapping[TextKey, str],
    window_tokens: int,
    most: int,
    round_number: int,
    is_wanted: Callable[[str], bool],
) -> Iterator[AugmentedText]:
    """The windows of some documents that hold no call, shard by shard.

    Args:
        warehouse, shards: where the documents are.
        tokenizer: of the base model; every annotator has the same vocabulary.
        with_calls: text of every window of C* in these shards.
        window_tokens: most tokens of a window.
        most: windows of a document that were annotated.
        round_number: the newest round that found no call in them.
        is_wanted: whether a document's windows are wanted, by its id.

    Raises:
        ToolformerError: the windows with calls are cut in another way; a plain one could overlap
            with them.
    """
    for shard in shards:
        documents, contexts = documents_in(warehouse, shard), contexts_in(warehouse, shard)
        wanted = {key: each for key, each in documents.items() if is_wanted(key)}
        for window in windows_of(wanted, tokenizer, window_tokens=window_tokens, most=most):
            key = TextKey(window.document_id, window.index)
            if with_calls.get(key, window.text) != window.text:
                raise ToolformerError(
                    f"Window {key.window} of document {key.document_id} is not the one that was "
                    "annotated: the stored calls come from another model or window size. Build "
                    f"{shard} again with `toolformer build`. Plain windows to train on can be left "
                    "out (training.plain_share: 0)."
                )
            if key not in with_calls:
                yield AugmentedText(
                    document_id=window.document_id,
                    window=window.index,
                    shard=shard,
                    text=window.text,
                    calls=(),
                    window_offset=window.start,
                    round=round_number,
                    context=contexts.get(key),
                )

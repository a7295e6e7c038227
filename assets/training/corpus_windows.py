"""The windows of C without calls, as training and calibration draw from them."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from assets.shard_texts import texts_in, windows_of
from toolformer.errors import ToolformerError
from toolformer.forward.tokenization import Tokenizer
from toolformer.forward.windows import Window, WindowKey
from toolformer.home.wiring.workspace import Workspace
from toolformer.training.training_set import AugmentedText
from tools.protocol import Document


def windows_without_calls(
    work: Workspace,
    shards: Sequence[str],
    tokenizer: Tokenizer,
    *,
    with_calls: Mapping[WindowKey, str],
    is_wanted: Callable[[str], bool],
) -> Iterator[tuple[Document, Window, AugmentedText]]:
    """The windows of some documents that hold no call, shard by shard.

    Args:
        tokenizer: tokenizer of the base model; every annotator has the same vocabulary.
        with_calls: text of every window of C* in these shards.
        is_wanted: whether a document's windows are wanted, by its id.

    Yields:
        The document, the window with its tokens, and as it is trained on, of the newest round.

    Raises:
        ToolformerError: the windows with calls are cut in another way; a plain one could overlap
            with them.
    """
    corpus, newest_round = work.settings.corpus, work.settings.training_rounds[0]
    for shard in shards:
        documents, contexts = texts_in(work.warehouse, shard)
        windows = windows_of(
            {key: document for key, document in documents.items() if is_wanted(key)},
            tokenizer,
            window_tokens=corpus.window_tokens,
            max_windows=corpus.max_windows_per_text,
        )
        for window in windows:
            key = window.key
            if with_calls.get(key, window.text) != window.text:
                raise other_window_error(key, shard)
            if key not in with_calls:
                text = AugmentedText(
                    document_id=window.document_id,
                    window_index=window.index,
                    shard=shard,
                    text=window.text,
                    calls=(),
                    round=newest_round,
                    context=contexts.get(key),
                )
                yield documents[window.document_id], window, text


def other_window_error(key: WindowKey, shard: str) -> ToolformerError:
    """What is said where a text with calls is no window of its document as windows are cut now."""
    document_id, window_index = key
    return ToolformerError(
        f"Window {window_index} of document {document_id} is not the one that was "
        f"annotated: stored calls come from another model or window size. Build {shard} again with "
        "`toolformer build`. Plain windows can be left out of training (training.plain_share: 0)."
    )

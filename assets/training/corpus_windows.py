"""Finds the windows of C without calls, from which training and calibration draw."""

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
    """Yield document, window and training text of windows without calls, shard by shard.

    `with_calls` has the text of every window of C* in these shards. Raises ToolformerError if those
    windows were cut differently, because windows without calls could then overlap with them.
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
                raise window_mismatch_error(key, shard)
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


def window_mismatch_error(key: WindowKey, shard: str) -> ToolformerError:
    """Return the error for a stored text that no longer matches any window of its document."""
    document_id, window_index = key
    return ToolformerError(
        f"Window {window_index} of document {document_id} is not the one that was annotated. "
        "Expected the same base model and corpus.window_tokens as for the stored calls. Build "
        f"{shard} again with `toolformer build`, or train without plain windows "
        "(training.plain_share: 0)."
    )

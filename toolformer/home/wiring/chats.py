"""Which texts are trained on as chats."""

from toolformer.errors import ChatTemplateError
from toolformer.forward.start_token import start_token
from toolformer.forward.tokenization import Tokenizer
from toolformer.settings.sections import Settings
from toolformer.training.chats import Chats


def chats_of(tokenizer: Tokenizer, settings: Settings) -> Chats | None:
    """What writes texts as chats; None where none is wanted, or no template takes a question."""
    share, seed = settings.training.chat_share, settings.training.seed
    start = start_token(tokenizer, settings.language_model.bos_token)
    try:
        return Chats(tokenizer, start, share=share, seed=seed) if share else None
    except ChatTemplateError:
        return None

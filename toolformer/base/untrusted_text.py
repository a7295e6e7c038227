"""Makes untrusted text, such as a server's, safe for messages, logs, tables and terminals."""

import re

_MAX_CHARACTERS = 300
# Control characters except line ends and tabs, and surrogates, which cannot be encoded.
_UNSAFE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def shown(text: object, *, key: str | None = None) -> str:
    r"""Return a text as one `plain` line of at most 300 characters, with an API key replaced.

    Example:
        >>> shown("\x1b[2Jno s3cret\n here", key="s3cret")
        '\\x1b[2Jno … here'
    """
    line = " ".join((str(text).replace(key, "…") if key else str(text)).split())
    return plain(line if len(line) <= _MAX_CHARACTERS else f"{line[: _MAX_CHARACTERS - 2]} …")


def plain(text: str) -> str:
    """Escape the characters that control a terminal."""
    return _UNSAFE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)

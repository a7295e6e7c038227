"""What strangers write, a server say, as it may stand in messages, logs, rows and on a terminal."""

import re

_LONGEST = 300
# Ends of lines and tabs are none; halves of a character cannot be written.
_STEERING = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def shown(text: object, *, key: str | None = None) -> str:
    r"""One short line of it, without a key that whoever wrote it was sent; see `plain`.

    Example:
        >>> shown("\x1b[2Jno s3cret\n here", key="s3cret")
        '\\x1b[2Jno … here'
    """
    line = " ".join((str(text).replace(key, "…") if key else str(text)).split())
    return plain(line if len(line) <= _LONGEST else f"{line[: _LONGEST - 2]} …")


def plain(text: str) -> str:
    r"""The text with what steers a terminal spelt out.

    Example:
        >>> plain("a\tb\x9b31m")
        'a\tb\\x9b31m'
    """
    return _STEERING.sub(lambda found: found[0].encode("unicode_escape").decode(), text)

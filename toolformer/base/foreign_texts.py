"""Makes texts of strangers, such as a server, safe for messages, logs, rows and terminals."""

import re

_LONGEST = 300
# Control characters but line ends and tabs, and surrogates, which cannot be encoded.
_STEERING = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def shown(text: object, *, key: str | None = None) -> str:
    r"""Return a text as one short line, with an API key replaced; see `plain`.

    Example:
        >>> shown("\x1b[2Jno s3cret\n here", key="s3cret")
        '\\x1b[2Jno … here'
    """
    line = " ".join((str(text).replace(key, "…") if key else str(text)).split())
    return plain(line if len(line) <= _LONGEST else f"{line[: _LONGEST - 2]} …")


def plain(text: str) -> str:
    """Escape the characters that steer a terminal."""
    return _STEERING.sub(lambda found: found[0].encode("unicode_escape").decode(), text)

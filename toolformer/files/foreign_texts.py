"""What strangers write, a server say, as it may stand in messages, logs, rows and on a terminal."""

_LONGEST = 300


def shown(text: object, *, key: str | None = None) -> str:
    r"""One short line of it, without a key and without characters that steer a terminal.

    Args:
        key: what whoever wrote it was sent, and may give back.

    Example:
        >>> shown("\x1b[2Jno s3cret\n here", key="s3cret")
        '\\x1b[2Jno … here'
    """
    text = str(text)
    line = " ".join((text.replace(key, "…") if key else text).split())
    return plain(line if len(line) <= _LONGEST else f"{line[: _LONGEST - 2]} …")


def plain(text: str) -> str:
    r"""The text with characters that are no print spelt out, but for ends of lines and tabs.

    Example:
        >>> plain("a\tb\n\x9b31m\u202e")
        'a\tb\n\\x9b31m\\u202e'
    """
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each in "\n\t" else each.encode("unicode_escape").decode()
        for each in text
    )

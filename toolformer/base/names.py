"""Suggests the known name that a misspelt one may mean."""

from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'X'?" with the nearest known name, or "" if no name is near.

    Example:
        >>> did_you_mean("wiki_search", ["Calculator", "WikiSearch"]), did_you_mean("x", ["QA"])
        (" Did you mean 'WikiSearch'?", '')
    """
    # Every command imports this module at start, and difflib is rarely needed.
    import difflib

    by_lower_case = {each.lower(): each for each in known}
    near = difflib.get_close_matches(name.lower(), by_lower_case, n=1)
    return f" Did you mean {by_lower_case[near[0]]!r}?" if near else ""

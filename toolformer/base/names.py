"""Suggests what a misspelt name may mean."""

from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a blank and a sentence with the nearest known name; "" if none is near.

    Example:
        >>> did_you_mean("wiki_search", ["Calculator", "WikiSearch"]), did_you_mean("x", ["QA"])
        (" Did you mean 'WikiSearch'?", '')
    """
    # Imported here, since every command starts with the modules that may need it.
    import difflib

    by_lower_case = {each.lower(): each for each in known}
    near = difflib.get_close_matches(name.lower(), by_lower_case, n=1)
    return f" Did you mean {by_lower_case[near[0]]!r}?" if near else ""

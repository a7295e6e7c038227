"""Content of JSON files with a digest of itself, so that a flipped bit is noticed.

The digest is the entry `digest`. A file without one is taken as it is, which is how somebody who
means to edit such a file does it; what one flipped bit makes of a sealed file is never that.
"""

import json
from collections.abc import Collection, Mapping
from typing import Any

from toolformer.base.digests import hex_digest

DIGEST = "digest"


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content and, as its last entry, its digest.

    Args:
        content: what JSON can hold.

    Example:
        >>> sealed({"number": 1})
        {'number': 1, 'digest': '9622f452d43b478a22352a97edef9c5f'}
    """
    return {**content, DIGEST: _digest(content)}


def unsealed(content: object, names: Collection[str]) -> dict[str, Any]:
    """The content without its digest.

    Args:
        content: as it was read.
        names: names of its entries.

    Raises:
        ValueError: it has other entries, or is not what was sealed; says what to do if it was
            edited on purpose.
    """
    entries = dict(content) if isinstance(content, Mapping) else {}
    digest = entries.pop(DIGEST, None)
    if entries.keys() != set(names):
        raise ValueError(f"it does not have the entries {', '.join(names)}")
    if digest not in (None, _digest(entries)):
        raise ValueError(
            f"it was altered: its `{DIGEST}` is not that of its content (to use it as it is, "
            f"because you edited it, remove its entry `{DIGEST}`)"
        )
    return entries


def _digest(content: Mapping[str, Any]) -> str:
    return hex_digest(json.dumps(content))

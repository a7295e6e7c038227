"""Which addresses are this machine's, which no proxy of the environment can reach."""

import re
from typing import Any
from urllib.parse import urlsplit

# 0.0.0.0 is what servers print that listen everywhere.
_OWN = re.compile(r"localhost|::1|0\.0\.0\.0|127(\.\d+){1,3}")


def past_proxies(*urls: str) -> dict[str, Any]:
    """Arguments of a client of httpx that asks this machine itself, others as variables say.

    Args:
        urls: all that the client asks.

    Example:
        >>> past_proxies("http://localhost:8000/v1", "http://[::1]:8000", "https://example.org")
        {'mounts': {'all://localhost': None, 'all://[::1]': None}, 'trust_env': True}
    """
    hosts = [urlsplit(url).hostname or "" for url in urls]
    own = [host for host in hosts if _OWN.fullmatch(host)]
    return {
        "mounts": {f"all://[{host}]" if ":" in host else f"all://{host}": None for host in own},
        # Else a proxy that httpx has no package for, such as one of SOCKS, is an error.
        "trust_env": len(own) < len(hosts),
    }

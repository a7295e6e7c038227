"""Keeps requests to this machine away from the proxies of the environment."""

import re
from typing import Any
from urllib.parse import urlsplit

# Servers that listen on all addresses print 0.0.0.0.
_OWN = re.compile(r"localhost|::1|0\.0\.0\.0|127(\.\d+){1,3}")


def past_proxies(*urls: str) -> dict[str, Any]:
    """Return arguments for an httpx client of these URLs that uses proxies only for other hosts."""
    hosts = [urlsplit(url).hostname or "" for url in urls]
    own = [f"[{host}]" if ":" in host else host for host in hosts if _OWN.fullmatch(host)]
    # If set, a proxy that httpx has no package for, such as a SOCKS one, is an error.
    return {"mounts": {f"all://{host}": None for host in own}, "trust_env": len(own) < len(hosts)}

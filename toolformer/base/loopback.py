"""Sends requests to this machine directly, whatever proxies the environment sets."""

import re
from typing import Any
from urllib.parse import urlsplit

# A server that listens on all addresses prints 0.0.0.0 as its address.
_LOCAL = re.compile(r"localhost|::1|0\.0\.0\.0|127(\.\d+){1,3}")


def bypass_proxies(*urls: str) -> dict[str, Any]:
    """Return arguments for an httpx client that uses proxies only for hosts other than this one."""
    hosts = [urlsplit(url).hostname or "" for url in urls]
    local = [f"[{host}]" if ":" in host else host for host in hosts if _LOCAL.fullmatch(host)]
    # With `trust_env`, httpx raises on a proxy that it has no package for, such as SOCKS. A client
    # that only talks to this machine must not fail for that.
    mounts = {f"all://{host}": None for host in local}
    return {"mounts": mounts, "trust_env": len(local) < len(hosts)}

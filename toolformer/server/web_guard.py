"""Which requests a web server refuses because a page of another site may have sent them.

Any page that a browser shows can send requests to the loopback address, and with a host name that
points there (DNS rebinding) even read the answers. The guard is no login: it does not tell people
apart.
"""

from collections.abc import Collection, Mapping

from starlette.requests import HTTPConnection
from starlette.types import Scope

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def wrong_host(scope: Scope, *, bound_to: str, further: Collection[str] = ()) -> str | None:
    """Why the name that the client asked for is not one of the server's; None where it is.

    Args:
        bound_to: the address or name that the server was told to bind to.
        further: names that are its own too, in small letters, with any port.
    """
    host = _host(scope)
    address, port = scope["server"]
    if host in _hosts(LOOPBACK | {bound_to.lower(), address}, port):
        return None
    if host.partition(":")[0] in further:
        return None
    return (
        f"this server does not go by the name {host!r}. Open "
        f"http://{in_url(address)}:{port}; a tunnel needs the same port on both sides."
    )


def foreign_page(scope: Scope, *, allowed: Collection[str] = ()) -> str | None:
    """Why the request seems to come from a page of another site; None where it does not.

    Args:
        allowed: origins of other sites whose pages may ask.
    """
    headers = HTTPConnection(scope).headers
    host = _host(scope)
    if headers.get("origin") in allowed:
        return None
    origin = headers.get("origin", f"http://{host}").lower()
    if origin != f"http://{host}":
        return f"the request comes from {origin}, not from a page of http://{host}."
    if scope["type"] == "http" and _is_foreign(scope["method"], headers):
        return f"the request comes from another site. Open http://{host} yourself."
    return None


def media_type(headers: Mapping[str, str]) -> str:
    """What the body is said to be, without parameters."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def in_url(name: str) -> str:
    """A name or an address as it stands in a URL."""
    return f"[{name}]" if ":" in name else name


def _host(scope: Scope) -> str:
    return HTTPConnection(scope).headers.get("host", "").lower()


def _hosts(names: frozenset[str], port: int) -> set[str]:
    """What stands in `Host` when a browser was given one of these names."""
    return {f"{in_url(name)}:{port}" for name in names} | (
        {in_url(name) for name in names} if port == 80 else set()
    )


def _is_foreign(method: str, headers: Mapping[str, str]) -> bool:
    """Whether the browser says that another site asks, and not for a page in a tab of its own."""
    is_link = (
        method == "GET"
        and headers.get("sec-fetch-mode") == "navigate"
        and headers.get("sec-fetch-dest") == "document"
    )
    return headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and not is_link

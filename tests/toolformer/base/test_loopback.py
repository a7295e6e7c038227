"""A proxy of the environment is asked for other machines, and for this one never."""

import httpx2 as httpx
import pytest

from toolformer.base.loopback import bypass_proxies

OWN = (
    *("http://localhost:8000/v1", "http://LOCALHOST", "http://127.0.0.1:8931/mcp"),
    *("https://127.1.2.3", "http://[::1]:8000/v1", "http://0.0.0.0:8000/v1"),
)
OTHERS = ("http://192.168.0.7:8000", "http://127.example.org", "https://example.org/localhost")


def client(monkeypatch: pytest.MonkeyPatch, proxy: str, *urls: str) -> httpx.Client:
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    return httpx.Client(**bypass_proxies(*urls))


def is_asked(client: httpx.Client, url: str) -> bool:
    return client._transport_for_url(httpx.URL(url)) is not client._transport


def test_this_machine_is_asked_past_the_proxy_and_others_through_it(monkeypatch):
    with client(monkeypatch, "http://127.0.0.1:9", *OWN, *OTHERS) as mixed:
        assert [url for url in (*OWN, *OTHERS) if is_asked(mixed, url)] == list(OTHERS)
    for url in OWN:
        with client(monkeypatch, "http://127.0.0.1:9", url) as alone:
            assert not is_asked(alone, url)


def test_a_proxy_that_cannot_be_used_keeps_nobody_from_this_machine(monkeypatch):
    with client(monkeypatch, "gopher://127.0.0.1:9", *OWN) as alone:
        assert not any(is_asked(alone, url) for url in OWN)

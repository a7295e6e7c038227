"""Dagster's web server, with report and plots, behind a guard: only its own pages may ask it.

Dagster asks nobody who they are, and a run executes what its configuration says. Any page that a
browser shows can send requests to the loopback address, and with a name that it lets point there
(DNS rebinding) even read the answers. Does not tell people apart: who may open the port may do all.
"""

from collections.abc import Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from dagster_project.home import Home
from dagster_project.plots.files import ADDRESS as PLOTS
from dagster_project.report import ADDRESS as REPORT

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class WebGuard:
    """Refuses, before the application sees it, what a page of another site may have sent.

    Args:
        app: the application.
        bound_to: the address or name that the server was told to bind to.
    """

    def __init__(self, app: ASGIApp, *, bound_to: str) -> None:
        self._app = app
        self._names = _LOOPBACK | {bound_to.lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the application, or with the reason for a refusal."""
        answer = self._app
        if scope["type"] in ("http", "websocket"):
            answer = self._refusal(scope) or answer
        await answer(scope, receive, send)

    def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        headers = HTTPConnection(scope).headers
        address, port = scope["server"]
        host = headers.get("host", "").lower()
        if host not in _hosts(self._names | {address}, port):
            return _refused(
                f"this server does not go by the name {host!r}. Open "
                f"http://{_in_url(address)}:{port}; a tunnel needs the same port on both sides."
            )
        origin = headers.get("origin", f"http://{host}").lower()
        if origin != f"http://{host}":
            return _refused(f"the request comes from {origin}, not from a page of http://{host}.")
        if scope["type"] == "websocket":
            return None
        if _is_foreign(scope["method"], headers):
            return _refused(f"the request comes from another site. Open http://{host} yourself.")
        return _wrong_form(scope, headers)


def _hosts(names: frozenset[str], port: int) -> set[str]:
    """What stands in `Host` when a browser was given one of these names."""
    return {f"{_in_url(name)}:{port}" for name in names} | (
        {_in_url(name) for name in names} if port == 80 else set()
    )


def _in_url(name: str) -> str:
    return f"[{name}]" if ":" in name else name


def _is_foreign(method: str, headers: Mapping[str, str]) -> bool:
    """Whether the browser says that another site asks, and not for a page in a tab of its own."""
    is_link = (
        method == "GET"
        and headers.get("sec-fetch-mode") == "navigate"
        and headers.get("sec-fetch-dest") == "document"
    )
    return headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and not is_link


def _wrong_form(scope: Scope, headers: Mapping[str, str]) -> PlainTextResponse | None:
    """Refuse forms that a browser sends to another site unasked, whatever else it says or omits."""
    if scope["method"] == "POST":
        # The type itself: Dagster also takes `text/plain; application/json` for JSON.
        media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != "application/json":
            return _refused(
                f"the content type is {media_type!r}. Expected application/json.", status=415
            )
    # Dagster would execute it, mutations too.
    elif scope["path"].rstrip("/").endswith("/graphql") and scope["query_string"]:
        return _refused("GraphQL in an address. Expected a POST of application/json.")
    return None


def _refused(reason: str, *, status: int = 403) -> PlainTextResponse:
    return PlainTextResponse(f"Refused: {reason}\n", status)


def with_own_pages(app: Starlette) -> Starlette:
    """The application, which now shows the report and the plots of the home as well."""
    plots = Home.find().plots
    # Without its folder the server of files fails.
    plots.mkdir(parents=True, exist_ok=True)
    # In front: Dagster answers every other address with its own page.
    app.router.routes[:0] = [Route(REPORT, _report), Mount(PLOTS, StaticFiles(directory=plots))]
    return app


async def _report(_request: Request) -> Response:
    file = Home.find().report
    if not file.is_file():
        return PlainTextResponse(
            "There is no report yet. Materialise the asset `report`, or run `toolformer report`.\n",
            404,
        )
    return FileResponse(file, media_type="text/html", headers={"Cache-Control": "no-cache"})


def main() -> None:
    """Run `dagster-webserver` with the options of the command line, behind the guard."""
    import click
    from dagster_webserver import cli

    make_app = cli.create_app_from_workspace_process_context  # pyright: ignore[reportPrivateImportUsage]

    def make_guarded_app(*arguments: Any, **options: Any) -> WebGuard:
        bound_to = click.get_current_context().params["host"]
        return WebGuard(with_own_pages(make_app(*arguments, **options)), bound_to=bound_to)

    cli.create_app_from_workspace_process_context = make_guarded_app  # pyright: ignore[reportPrivateImportUsage]
    cli.main()


if __name__ == "__main__":
    main()

"""Dagster's web server, with the pages of the home, behind a guard: only its own pages may ask it.

Dagster has no login, and a run executes what its configuration says: whoever can open the port can
do everything.
"""

from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import FileResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from toolformer.home.home import Home
from toolformer.home.report import ADDRESS as REPORT
from toolformer.server.web_guard import foreign_page, media_type, wrong_host


@dataclass(frozen=True)
class WebGuard:
    """Refuses, before the application sees it, what a page of another site may have sent.

    Attributes:
        bound_to: the address or name that the server was told to bind to.
    """

    app: ASGIApp
    bound_to: str

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the application, or with the reason for a refusal."""
        answer = self.app
        if scope["type"] in ("http", "websocket"):
            answer = self._refusal(scope) or answer
        await answer(scope, receive, send)

    def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        reason = wrong_host(scope, bound_to=self.bound_to) or foreign_page(scope)
        if reason is not None:
            return _refused(reason)
        return None if scope["type"] == "websocket" else _wrong_form(scope)


def _wrong_form(scope: Scope) -> PlainTextResponse | None:
    """Refuse forms that a browser sends to another site unasked, whatever else it says or omits."""
    if scope["method"] == "POST":
        # The type itself: Dagster also takes `text/plain; application/json` for JSON.
        given = media_type(HTTPConnection(scope).headers)
        if given != "application/json":
            return _refused(
                f"the content type is {given!r}. Expected application/json.", status=415
            )
    # Dagster would execute it, mutations too.
    elif scope["path"].rstrip("/").endswith("/graphql") and scope["query_string"]:
        return _refused("GraphQL in an address. Expected a POST of application/json.")
    return None


def _refused(reason: str, *, status: int = 403) -> PlainTextResponse:
    return PlainTextResponse(f"Refused: {reason}\n", status)


def with_own_pages(app: Starlette) -> Starlette:
    """The application, which now has the report of the home as well."""
    # In front: Dagster answers every other address with its own page.
    app.router.routes[:0] = [
        # The graph with the asset `report` chosen: beside it stands the link to the report.
        Route("/", lambda _: RedirectResponse("/asset-groups/report")),
        Route(REPORT, _report),
    ]
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

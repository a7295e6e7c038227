"""The page on which people judge kept calls, without any model.

Whoever adds its routes to a server puts a guard in front of them.
"""

import asyncio
import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import uuid4

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from toolformer.home.expected_errors import EXPECTED_ERRORS, explained
from toolformer.home.home import Home
from toolformer.home.wiring.workspace import open_warehouse
from toolformer.server.api_errors import ApiError
from toolformer.server.bodies import parsed_body, read_body
from warehouse.labels import append_label
from warehouse.warehouse import Warehouse

ADDRESS = "/toolformer/labels/"
# Of each tool: the 95 % interval of its precision is then at most 20 percentage points wide.
_PER_TOOL = 100
_OWN, _SHARED = (Path(__file__).parent / folder for folder in ("label_page", "page"))
_FILES = {
    "": _OWN / "index.html",
    **{name: _OWN / name for name in ("labels.css", "labels.js")},
    **{name: _SHARED / name for name in ("icon.svg", "page.css", "server.js")},
}


class RaterBody(BaseModel):
    """Who wants calls to judge, or judges one."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    rater: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=60)] = (
        Field(description="a name of 1 to 60 characters")
    )


class LabelBody(RaterBody):
    """A judgement, with what the person saw of the call: columns of the view `labels`."""

    label: Literal["useful", "not_useful", "unsure"] = Field(
        description="useful, not_useful or unsure"
    )
    call: dict[str, str] = Field(description="an object of texts, as POST calls gave it")


def label_routes(home: Home) -> list[Route]:
    """The routes of the page: its files by GET, calls and labels of a home by POST."""

    def show(file: Path) -> Callable[[Request], Response]:
        return lambda _: FileResponse(file, headers={"cache-control": "no-cache"})

    return [
        *(Route(f"{ADDRESS}{name}", show(file)) for name, file in _FILES.items()),
        _posted("calls", RaterBody, lambda body: calls_to_label(home, body)),
        _posted("label", LabelBody, lambda body: store_label(home, body)),
    ]


def _posted(name: str, kind: type[BaseModel], answer: Callable[[Any], object]) -> Route:
    async def respond(request: Request) -> Response:
        try:
            body = parsed_body(await read_body(request), kind)
            return JSONResponse(await asyncio.to_thread(answer, body))
        except ApiError as error:
            return error.response
        except EXPECTED_ERRORS as error:
            return ApiError(500, explained(error)).response

    return Route(f"{ADDRESS}{name}", respond, methods=["POST"])


def calls_to_label(home: Home, body: RaterBody) -> dict[str, Any]:
    """The drawn calls that a person has not judged yet, and how many are judged."""
    warehouse = _warehouse_of_draw(home)
    drawn = _drawn(warehouse)
    judged = warehouse.ask("judged_by_rater", rater=body.rater)
    left = drawn.join(judged, on=["call_id", "round"], how="anti").drop("round")
    return {"calls": left.to_dicts(), "judged": drawn.height - left.height}


@dataclass(frozen=True)
class _Draw:
    """What calls are drawn from: versions of partitions, whose names tell them apart."""

    warehouse: Warehouse = field(compare=False)
    files: tuple[Path, ...]


def _warehouse_of_draw(home: Home) -> Warehouse:
    """The warehouse, limited to the shards with the calls that are drawn."""
    home.check_there()
    warehouse = open_warehouse(home)
    shards = warehouse.ask("shards_to_label", per_tool=_PER_TOOL)["shard"]
    return warehouse.limited_to(shards.to_list())


def _drawn(warehouse: Warehouse) -> pl.DataFrame:
    return _drawn_from(_Draw(warehouse, tuple(warehouse.files("augmented_texts"))))


@functools.lru_cache(maxsize=1)
def _drawn_from(of: _Draw) -> pl.DataFrame:
    """Remembered, since all texts of these shards are read for it."""
    return of.warehouse.ask("calls_to_label", per_tool=_PER_TOOL)


def store_label(home: Home, body: LabelBody) -> None:
    """Append a judgement to the home's `labels.jsonl`.

    Raises:
        ApiError: the call is none of those that are drawn by now.
        StorageError: the disk refused it.
    """
    drawn = _drawn(_warehouse_of_draw(home)).drop("loss_reduction", "round")
    if body.call not in drawn.to_dicts():
        raise ApiError(
            400,
            "There is no such call among those to judge, or no more since another build. Expected "
            f"one with {', '.join(drawn.columns)} as POST calls gives it: load the page again.",
            param="call",
        )
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    own = {"label_id": uuid4().hex, "labelled_at": now, "rater": body.rater, "label": body.label}
    # On NFS two nodes that append at once would overwrite each other.
    with home.output_lock("labels"):
        append_label(home.warehouse, own | body.call)

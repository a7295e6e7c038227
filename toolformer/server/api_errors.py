"""Errors in the shape that clients of OpenAI's API read."""

from starlette.responses import JSONResponse

RETRY_SECONDS = 5
_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


class ApiError(Exception):
    """What a client is told instead of an answer.

    Args:
        message: what was wrong, what was expected, what to do.
        param: the field of the request that it is about.
        code: a word for programs.
    """

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code

    @property
    def body(self) -> dict[str, dict[str, str | None]]:
        """The error as JSON."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {
            "error": {
                "message": self.message,
                "type": _TYPES.get(self.status, kind),
                "param": self.param,
                "code": self.code,
            }
        }

    @property
    def response(self) -> JSONResponse:
        """The response; with `Retry-After` where the error is temporary."""
        headers = {"retry-after": str(RETRY_SECONDS)} if self.status in (429, 503) else None
        return JSONResponse(self.body, self.status, headers)


def closing() -> ApiError:
    """The server is about to end."""
    return ApiError(503, "The server is closing. Try again when it has restarted.", code="closing")


def out_of_memory() -> ApiError:
    """The device does not hold the texts that are written at the same time."""
    return ApiError(
        503,
        "The memory of the server's device ran out. Try again with a shorter prompt, a smaller "
        "max_tokens or n, or when fewer texts are written at the same time.",
        code="out_of_memory",
    )


def internal(request_id: str) -> ApiError:
    """A bug, whose traceback is in the log."""
    return ApiError(
        500,
        f"The server failed on this request. Its log has the details of request {request_id}.",
        code="internal_error",
    )

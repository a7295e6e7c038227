"""Defines the errors of the server, in the format of OpenAI's API."""

import reprlib
from collections.abc import Mapping

from fastapi.exceptions import RequestValidationError
from pydantic.fields import FieldInfo
from starlette.responses import JSONResponse

from toolformer.base.names import did_you_mean

RETRY_SECONDS = 5
_TYPES = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}


class ApiError(Exception):
    """Error that is returned to the client.

    Args:
        param: Name of the invalid request field.
        code: Machine-readable name of the error.
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
        """The HTTP response, with `Retry-After` if the error is temporary."""
        headers = {"retry-after": str(RETRY_SECONDS)} if self.status in (429, 503) else None
        return JSONResponse(self.body, self.status, headers)


def closing() -> ApiError:
    """Return the error for a request that is cut off because the server shuts down."""
    return ApiError(
        503, "The server is shutting down. Try again after it has restarted.", code="closing"
    )


def out_of_memory() -> ApiError:
    """Return the error for running out of device memory."""
    return ApiError(
        503,
        "The server's device ran out of memory. Try again with a shorter prompt or a smaller "
        "max_tokens or n, or later, when the server has fewer requests.",
        code="out_of_memory",
    )


def internal() -> ApiError:
    """Return the error for an unexpected exception, whose traceback is logged."""
    message = "The server failed on this request. Its log has the details."
    return ApiError(500, message, code="internal_error")


def nearest(name: str, known: Mapping[str, object]) -> str:
    """Return a sentence that suggests the most similar known name, or else lists all of them."""
    return did_you_mean(name, known).lstrip() or f"Expected one of {', '.join(known)}."


def wrong_body(error: RequestValidationError, known: Mapping[str, FieldInfo]) -> ApiError:
    """Return the error for the first unknown field of a request, or else its first invalid one."""
    faults, body = error.errors(), error.body
    if faults[0]["type"] == "json_invalid":
        return ApiError(400, f"The body is not JSON: {faults[0]['ctx']['error']}.")
    if not isinstance(body, dict):
        return ApiError(
            400,
            f"The body is {reprlib.repr(body)}. Expected a JSON object such as "
            '{"prompt": "Today is"} and the header `Content-Type: application/json`.',
        )
    # Report unknown fields first: a misspelling may be the reason why another field is missing.
    for fault in faults:
        if fault["type"] == "extra_forbidden" and len(fault["loc"]) == 2:
            name = str(fault["loc"][1])
            message = f"There is no field {reprlib.repr(name)}. {nearest(name, known)}"
            return ApiError(400, message, param=name[:64], code="unknown_field")
    name = str(faults[0]["loc"][1])
    given = reprlib.repr(body[name]) if name in body else "missing"
    message = f"{name} is {given}. Expected {known[name].description}."
    return ApiError(400, message, param=name)

"""Errors as RFC 9457 problem details with a stable `code`: raising them, answering with them, describing them.

Every answer that is not a success is one of these, also those that the framework gives by itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.responses import Response

from services.contract.codes import ERRORS, ErrorCode

MEDIA_TYPE: Final = "application/problem+json"
REQUEST_ID_HEADER: Final = "x-request-id"

log = structlog.get_logger()


class FieldFault(BaseModel):
    """One thing wrong with the request. The value itself is not repeated: it may be a secret."""

    field: str = Field(
        description="Where: `body.name`, `query.limit`, `path.channel_id`, `header.idempotency-key`."
    )
    message: str


class Problem(BaseModel):
    """RFC 9457 problem details. Decide by `code`; the sentences may change."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="`urn:lockstep:error:` and the code.")
    title: str = Field(description="What the code means.")
    status: int
    code: str = Field(description="Stable; one of the codes listed in the protocol's description.")
    detail: str = Field(description="What was wrong this time.")
    next: str = Field(description="What a client should do.")
    request_id: str | None = None
    errors: list[FieldFault] | None = Field(default=None, description="With `invalid_request`: each fault.")
    retry_after_ms: int | None = Field(
        default=None, description="With `slow_down` and other retryable codes."
    )
    head: int | None = Field(default=None, description="With `expired`: the channel's head.")
    now: int | None = Field(default=None, description="With `expired` and `future`: the log's clock.")


class ApiError(Exception):
    """An answer that is not a success. `code` is one of `codes.ERRORS`; raises KeyError for any other."""

    def __init__(
        self,
        code: str,
        detail: str | None = None,
        *,
        retry_after_ms: int | None = None,
        head: int | None = None,
        now: int | None = None,
        errors: Sequence[FieldFault] | None = None,
    ) -> None:
        self.error: ErrorCode = ERRORS[code]
        self.detail = detail or self.error.meaning
        self.retry_after_ms = retry_after_ms
        self.head = head
        self.now = now
        self.errors = list(errors) if errors else None
        super().__init__(f"{code}: {self.detail}")

    @property
    def code(self) -> str:
        return self.error.code


def problem_of(error: ApiError, request_id: str | None) -> Problem:
    return Problem(
        type=f"urn:lockstep:error:{error.code}",
        title=error.error.meaning,
        status=error.error.status,
        code=error.code,
        detail=error.detail,
        next=error.error.next,
        request_id=request_id,
        errors=error.errors,
        retry_after_ms=error.retry_after_ms,
        head=error.head,
        now=error.now,
    )


def problem_response(
    error: ApiError, request_id: str | None, headers: Mapping[str, str] | None = None
) -> Response:
    """The answer for this error, with Retry-After and WWW-Authenticate where they belong."""
    all_headers = dict(headers or {})
    if error.retry_after_ms is not None:
        all_headers["retry-after"] = str(max(1, math.ceil(error.retry_after_ms / 1000)))
    if error.code == "unauthenticated":
        all_headers["www-authenticate"] = 'Bearer realm="lockstep"'
    return Response(
        problem_of(error, request_id).model_dump_json(exclude_none=True),
        status_code=error.error.status,
        media_type=MEDIA_TYPE,
        headers=all_headers,
    )


def request_id_of(request: Request) -> str | None:
    """The id that `observation` gave this request."""
    found = request.scope.get("lockstep.request_id")
    return found if isinstance(found, str) else None


_FRAMEWORK_CODES: Final = {401: "unauthenticated", 403: "forbidden", 404: "not_found", 405: "method_not_allowed", 413: "too_large", 429: "slow_down"}  # fmt: skip


def install(app: FastAPI, routes: Sequence[APIRoute]) -> None:
    """Make every error of this application, which consists of these routes, a problem detail."""

    async def api_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, ApiError)
        request.scope["lockstep.code"] = error.code
        return problem_response(error, request_id_of(request))

    async def validation_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return await api_error(request, invalid_request(error.errors()))

    async def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code = _FRAMEWORK_CODES.get(
            error.status_code, "invalid_request" if error.status_code < 500 else "internal"
        )
        detail = f"There is nothing at {request.url.path}." if code == "not_found" else None
        request.scope["lockstep.code"] = code
        headers = {"allow": _allowed(routes, request.url.path)} if code == "method_not_allowed" else None
        return problem_response(ApiError(code, detail), request_id_of(request), headers)

    async def defect(request: Request, error: Exception) -> Response:
        # Starlette raises the error again after this answer, so that the server logs it with its traceback.
        request.scope["lockstep.code"] = "internal"
        request_id = request_id_of(request)
        headers = {REQUEST_ID_HEADER: request_id} if request_id else None
        return problem_response(ApiError("internal"), request_id, headers)

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _described(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
    app.add_exception_handler(ApiError, api_error)
    app.add_exception_handler(RequestValidationError, validation_error)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(Exception, defect)


def _allowed(routes: Sequence[APIRoute], path: str) -> str:
    """All methods of this address (RFC 9110, 10.2.1); the router itself names those of one route of it only."""
    exactly = [route for route in routes if route.path == path]
    matching = exactly or [route for route in routes if route.path_regex.match(path)]
    methods = {method for route in matching for method in route.methods or ()}
    return ", ".join(sorted(methods))


def invalid_request(faults: Sequence[Mapping[str, Any]]) -> ApiError:
    """From pydantic's faults, without the values that were sent."""
    errors = [
        FieldFault(field=".".join(str(part) for part in fault["loc"])[:200], message=str(fault["msg"])[:300])
        for fault in faults[:20]
    ]
    first = errors[0] if errors else FieldFault(field="body", message="not understood")
    return ApiError("invalid_request", f"{first.field}: {first.message}", errors=errors)


def invalid_field(field: str, message: str) -> ApiError:
    return ApiError(
        "invalid_request", f"{field}: {message}", errors=[FieldFault(field=field, message=message)]
    )


def _described(app: FastAPI) -> dict[str, Any]:
    """FastAPI's description, with the schema of problems, which no operation returns as a model."""
    described = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        tags=app.openapi_tags,
        routes=app.routes,
    )
    _, definitions = models_json_schema(
        [(Problem, "serialization")], ref_template="#/components/schemas/{model}"
    )
    described["components"]["schemas"].update(definitions["$defs"])
    return described


_ALWAYS: Final = ("invalid_request", "database_unavailable", "internal")


def problems(*codes: str, public: bool = False) -> dict[int | str, dict[str, Any]]:
    """The error answers of an operation for OpenAPI: `codes` and those that every operation has.

    `public`: the operation asks for no access token.
    """
    names = dict.fromkeys([*codes, *_ALWAYS, *(() if public else ("unauthenticated",))])
    by_status: dict[int, list[ErrorCode]] = {}
    for name in names:
        by_status.setdefault(ERRORS[name].status, []).append(ERRORS[name])
    return {
        status: {
            "description": "; ".join(f"`{each.code}`: {each.meaning}" for each in errors),
            "content": {
                MEDIA_TYPE: {
                    "schema": {"$ref": "#/components/schemas/Problem"},
                    "examples": {each.code: {"value": _example(each)} for each in errors},
                }
            },
        }
        for status, errors in sorted(by_status.items())
    }


def _example(error: ErrorCode) -> dict[str, Any]:
    shown = ApiError(error.code, retry_after_ms=1000 if error.code == "slow_down" else None)
    return problem_of(shown, "0193a1b2c3d47e5f8a9b0c1d2e3f4a5b").model_dump(exclude_none=True)

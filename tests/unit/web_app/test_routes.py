"""Promise: a request finds its own operation, in whatever order the domains stand."""

from __future__ import annotations

from typing import Final

import pytest
from fastapi.routing import APIRoute
from starlette.routing import Match
from starlette.types import Scope

from web_app.main import DOMAINS, build_api

APP: Final = build_api()
ROUTES: Final = [
    route for domain in DOMAINS for route in domain.router.routes if isinstance(route, APIRoute)
]  # fmt: skip


def found(method: str, path: str) -> object:
    scope: Scope = {"type": "http", "method": method, "path": path, "root_path": "", "headers": []}
    return next(route for route in APP.router.routes if route.matches(scope)[0] is Match.FULL)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: str(route.operation_id))
def test_an_operation_is_found_by_its_own_address(route: APIRoute) -> None:
    path = route.path_format.replace("{seq}", "1").replace("{", "").replace("}", "")
    for method in route.methods or ():
        assert found(method, path) is route

"""The table of who may do what: whole, named by every route, and what the page says."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest

from web_app.main import build_api
from web_app.permissions import EXTENSION, ROLES, TABLE, WORDS, lacking, page, permits, require
from web_app.problems import ApiError

METHODS: Final = ("get", "post", "patch", "delete", "put")
OPERATIONS: Final[dict[str, dict[str, Any]]] = {
    operation["operationId"]: operation
    for item in build_api().openapi()["paths"].values()
    for method, operation in item.items()
    if method in METHODS
}


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_every_operation_names_its_action(name: str) -> None:
    action = OPERATIONS[name].get(EXTENSION)
    assert action in TABLE, f'{name}: give its route `openapi_extra=acts("...")` (web_app/permissions.py)'
    assert (action == "anybody") == (not OPERATIONS[name].get("security"))


def test_the_table_is_made_of_its_words() -> None:
    for action in TABLE.values():
        for role in ROLES:
            assert set(action.of(role)) <= WORDS.keys(), (action.name, role)


@pytest.mark.parametrize("action", sorted(TABLE))
def test_nobody_may_what_a_greater_role_may_not(action: str) -> None:
    """Given the same facts: with all of them, and with none but those that every role could have."""
    for facts in (set(WORDS), {"seen", "inside"}, {"seen"}, {"seen", "inside", "author"}):
        may = [permits(action, role, facts - {"no"}) for role in ROLES]
        assert may == sorted(may, reverse=True), (facts, may)


def test_an_unknown_role_may_nothing() -> None:
    assert not any(permits(action, "emperor", WORDS.keys() - {"no"}) for action in TABLE)


def test_what_is_lacking_is_said() -> None:
    assert lacking("message.post", "member", {"inside"}) == "posting"
    for facts, code in (((), "not_a_member"), (("inside",), "forbidden")):
        with pytest.raises(ApiError) as refused:
            require("message.post", "member", facts)
        assert refused.value.code == code
    require("message.post", "member", ("inside", "posting"))


def test_the_page_is_current() -> None:
    """`make schemas` writes it anew."""
    assert Path("docs/permissions.md").read_text() == page()

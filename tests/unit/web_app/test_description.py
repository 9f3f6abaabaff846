"""The API's description: complete, and its examples are true to its schemas."""

from __future__ import annotations

import re
from typing import Any, Final

import jsonschema
import pytest

from services.contract.codes import ERRORS
from web_app.main import build_api

METHODS: Final = ("get", "post", "patch", "delete", "put")
SUCCESSES: Final = ("200", "201", "204")

DESCRIPTION: Final[dict[str, Any]] = build_api().openapi()
OPERATIONS: Final[dict[str, tuple[str, str, dict[str, Any]]]] = {
    operation.get("operationId", f"{method} {path}"): (method, path, operation)
    for path, item in DESCRIPTION["paths"].items()
    for method, operation in item.items()
    if method in METHODS
}
PUBLIC: Final = {"sign_up", "log_in", "refresh_tokens", "accept_invite"}

everywhere = pytest.mark.parametrize("name", sorted(OPERATIONS))


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema that `$ref` names."""
    while "$ref" in schema:
        assert schema["$ref"].startswith("#/components/schemas/")
        schema = DESCRIPTION["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    return schema


def check(example: object, schema: dict[str, Any]) -> None:
    """Raises jsonschema.ValidationError."""
    whole = {**schema, "components": DESCRIPTION["components"]}
    jsonschema.validate(example, whole, cls=jsonschema.Draft202012Validator)


def examples_of(content: dict[str, Any]) -> list[Any]:
    named = [each["value"] for each in content.get("examples", {}).values()]
    return named or list(resolved(content["schema"]).get("examples", []))


def test_it_is_openapi_3_1_and_names_are_unique() -> None:
    assert DESCRIPTION["openapi"].startswith("3.1")
    count = sum(method in METHODS for item in DESCRIPTION["paths"].values() for method in item)
    assert len(OPERATIONS) == count


@everywhere
def test_every_operation_says_what_it_is(name: str) -> None:
    _, _, operation = OPERATIONS[name]
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", operation["operationId"])
    assert operation["summary"]
    assert operation["description"]
    [tag] = operation["tags"]
    assert tag in {each["name"] for each in DESCRIPTION["tags"]}
    assert bool(operation.get("security")) == (name not in PUBLIC)


@everywhere
def test_every_request_has_an_example_and_refuses_unknown_fields(name: str) -> None:
    _, _, operation = OPERATIONS[name]
    if "requestBody" not in operation:
        return
    assert operation["requestBody"]["required"]
    content = operation["requestBody"]["content"]["application/json"]
    assert resolved(content["schema"])["additionalProperties"] is False
    examples = examples_of(content)
    assert examples
    for example in examples:
        check(example, content["schema"])


@everywhere
def test_every_success_has_an_example(name: str) -> None:
    _, _, operation = OPERATIONS[name]
    successes = {status: reply for status, reply in operation["responses"].items() if status in SUCCESSES}
    assert successes
    for status, reply in successes.items():
        if status == "204":
            assert "content" not in reply
            continue
        [(media, content)] = reply["content"].items()
        assert media == "application/json"
        schema = resolved(content["schema"])
        if "items" in schema.get("properties", {}):
            items = schema["properties"]["items"]["items"]
            examples = [{"items": [each], "next_cursor": None} for each in resolved(items)["examples"]]
        else:
            examples = examples_of(content)
        assert examples, status
        for example in examples:
            check(example, content["schema"])


@everywhere
def test_every_error_is_a_problem_with_known_codes(name: str) -> None:
    _, _, operation = OPERATIONS[name]
    errors = {status: reply for status, reply in operation["responses"].items() if status not in SUCCESSES}
    told: set[str] = set()
    for status, reply in errors.items():
        [(media, content)] = reply["content"].items()
        assert media == "application/problem+json", status
        assert content["schema"] == {"$ref": "#/components/schemas/Problem"}
        for code, example in content["examples"].items():
            assert str(ERRORS[code].status) == status
            assert example["value"]["code"] == code
            check(example["value"], content["schema"])
            told.add(code)
    assert {"invalid_request", "database_unavailable", "internal"} <= told
    assert ("unauthenticated" in told) == (name not in PUBLIC)
    if "requestBody" in operation:
        assert "too_large" in told


@everywhere
def test_parameters_are_bounded(name: str) -> None:
    """Whatever a client may send has a pattern, an enumeration or limits."""
    _, path, operation = OPERATIONS[name]
    for parameter in operation.get("parameters", []):
        schema = parameter["schema"]
        choices = [each for each in schema.get("anyOf", [schema]) if each.get("type") != "null"]
        for each in choices:
            bounded = {"pattern", "enum", "maxLength", "maximum"} & each.keys() or each["type"] == "boolean"
            assert bounded, (path, parameter["name"])


def test_every_text_and_list_that_a_client_sends_is_bounded() -> None:
    sent = {
        operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        for _, _, operation in OPERATIONS.values()
        if "requestBody" in operation
    }
    for reference in sent:
        for field, schema in resolved({"$ref": reference})["properties"].items():
            choices = [each for each in schema.get("anyOf", [schema]) if each.get("type") != "null"]
            for each in map(resolved, choices):
                limits = {"maxLength", "enum", "const", "pattern", "maximum", "maxItems"}
                assert limits & each.keys() or each.get("type") == "boolean", (reference, field)

"""Where ids go into a request: read from the API's own description, so that what is added is attacked by itself."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from services.contract.ids import new_event_id
from web_app.main import build_api

METHODS: Final = ("get", "post", "patch", "delete", "put")
_PREFIX: Final = re.compile(r"^\^(ws|usr|ch|ses|inv|grp|aud|sch|p)_\[")

Place = tuple[str, ...]
"""("path", "channel_id"), ("query", "author") or ("body", "user_ids", "[]")."""


class NotUnderstood(AssertionError):
    """The description holds something that these tests cannot fill in: teach them, or list the operation."""


@dataclass(frozen=True)
class Operation:
    """`ids`: the prefix (`ch`, `usr`, ...) of each place that takes an id. `example`: the body, but for ids.

    `fields`: all that a body may hold, also what the example leaves out. `required`: what the query must hold besides
    ids.
    """

    name: str
    method: str
    path: str
    public: bool
    ids: Mapping[Place, str]
    example: dict[str, Any] | None
    fields: tuple[str, ...]
    required: Mapping[str, str]

    def request(self, values: Mapping[Place, str]) -> tuple[str, dict[str, str], dict[str, Any] | None]:
        """(path, query, body) with these ids in their places."""
        path, query = self.path, dict(self.required)
        body = None if self.example is None else dict(self.example)
        for place, value in values.items():
            if place[0] == "path":
                path = path.replace("{" + place[1] + "}", value)
            elif place[0] == "query":
                query[place[1]] = value
            else:
                assert body is not None
                body[place[1]] = [value] if place[2:] == ("[]",) else value
        if "{" in path:
            raise NotUnderstood(f"{self.name}: {path} takes something that is no id of a known kind")
        return path, query, body


@functools.cache
def operations() -> dict[str, Operation]:
    """By operationId."""
    described = build_api().openapi()
    schemas = described["components"]["schemas"]
    found = {}
    for path, item in described["paths"].items():
        for method, operation in item.items():
            if method in METHODS:
                made = _operation(path, method, operation, schemas)
                found[made.name] = made
    return found


def _operation(path: str, method: str, operation: dict[str, Any], schemas: dict[str, Any]) -> Operation:
    ids: dict[Place, str] = {}
    required: dict[str, str] = {}
    for parameter in operation.get("parameters", ()):
        prefix = _prefix(parameter["schema"])
        if prefix is not None:
            ids[parameter["in"], parameter["name"]] = prefix
        elif parameter["in"] == "path" and parameter["schema"].get("type") == "integer":
            path = path.replace("{" + parameter["name"] + "}", "1")  # a seq: the first message
        elif parameter["in"] == "path" and parameter["name"] == "emoji":
            path = path.replace("{emoji}", "%F0%9F%91%8D")
        elif parameter["in"] == "query" and parameter.get("required"):
            required[parameter["name"]] = "1"
    example: dict[str, Any] | None = None
    fields: tuple[str, ...] = ()
    content = operation.get("requestBody", {}).get("content", {})
    if content:
        schema = _resolved(content["application/json"]["schema"], schemas)
        example, fields = dict(schema["examples"][0]), tuple(schema["properties"])
        for name, field in schema["properties"].items():
            for place, prefix in _ids_of(("body", name), field, schemas):
                ids[place] = prefix
        if "client_msg_id" in example:
            example["client_msg_id"] = new_event_id()
    public = not operation.get("security", ())
    return Operation(operation["operationId"], method.upper(), path, public, ids, example, fields, required)


def _ids_of(place: Place, field: dict[str, Any], schemas: dict[str, Any]) -> Iterator[tuple[Place, str]]:
    field = _resolved(field, schemas)
    prefix = _prefix(field)
    if prefix is not None:
        yield place, prefix
    for option in field.get("anyOf", ()):
        yield from _ids_of(place, option, schemas)
    if "items" in field:
        yield from _ids_of((*place, "[]"), field["items"], schemas)
    if "properties" in field or "additionalProperties" in field or len(place) > 3:
        raise NotUnderstood(f"{place}: ids inside of nested bodies are not looked for yet")


def _prefix(schema: dict[str, Any]) -> str | None:
    for option in (schema, *schema.get("anyOf", ())):
        matched = _PREFIX.match(option.get("pattern", ""))
        if matched:
            return matched[1]
    return None


def _resolved(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        schema = schemas[schema["$ref"].rpartition("/")[2]]
    return schema


def fillings(
    operation: Operation, own: Mapping[str, str], foreign: Mapping[str, list[str]]
) -> Iterator[dict[Place, str]]:
    """Every way to fill the places in which at least one id is foreign, the others being one's own."""
    places = list(operation.ids)
    choices = []
    for place in places:
        prefix = operation.ids[place]
        if prefix not in foreign or prefix not in own:
            raise NotUnderstood(f"{operation.name}: no id of the kind {prefix!r} is at hand")
        choices.append([(False, own[prefix]), *((True, each) for each in foreign[prefix])])
    for chosen in itertools.product(*choices):
        if any(is_foreign for is_foreign, _ in chosen):
            yield dict(zip(places, (value for _, value in chosen), strict=True))


OPERATIONS_WITH_BODY: Final = sorted(name for name, each in operations().items() if each.example is not None)

"""The generated documents are current, well-formed, and say what the types accept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from jsonschema import Draft202012Validator

from services.contract import codes, directory, examples, frames, schemas
from tests.unit.contract.test_words import RECORDS

DOCS = Path(__file__).parents[3] / "docs"


@pytest.mark.parametrize("name", sorted(schemas.documents()))
def test_the_documents_are_what_the_types_say_now(name: str) -> None:
    assert (DOCS / name).read_text("utf-8") == schemas.documents()[name], "run `make schemas`"


def test_no_document_is_left_of_a_type_that_is_gone() -> None:
    assert {f"schemas/{path.name}" for path in (DOCS / "schemas").iterdir()} | {"asyncapi.yaml"} == set(
        schemas.documents()
    )


def validator(name: str) -> Draft202012Validator:
    schema = schemas.json_schemas()[name]
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@pytest.mark.parametrize("name", sorted(schemas.json_schemas()))
def test_every_schema_is_a_schema_whose_references_lead_somewhere(name: str) -> None:
    schema = schemas.json_schemas()[name]
    Draft202012Validator.check_schema(schema)
    for reference in references(schema):
        assert resolve(schema, reference) is not None


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("events", examples.EVENTS),
        ("client_frames", examples.CLIENT_FRAMES),
        ("server_frames", examples.SERVER_FRAMES),
        ("directory", RECORDS),
    ],
)
def test_every_example_is_valid(name: str, made: tuple[msgspec.Struct, ...]) -> None:
    check = validator(name)
    for example in made:
        check.validate(json.loads(msgspec.json.encode(example)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"type": "send"},
        {"type": "send", "channel": "general", "id": examples.MESSAGE, "text": "x"},
        {"type": "send", "channel": examples.CHANNEL, "id": examples.MESSAGE.upper(), "text": "x"},
        {"type": "send", "channel": examples.CHANNEL, "id": examples.MESSAGE, "text": ""},
        {"type": "send", "channel": examples.CHANNEL, "id": examples.MESSAGE, "text": "x" * 12_001},
        {"type": "connect", "token": ""},
        {"type": "hello"},
        [],
    ],
)
def test_the_schema_refuses_what_the_decoder_refuses(wrong: Any) -> None:
    assert not validator("client_frames").is_valid(wrong)
    with pytest.raises(msgspec.DecodeError):
        frames.decode_client_frame(json.dumps(wrong))


def test_an_event_of_a_later_release_is_valid_in_a_frame() -> None:
    frame = json.loads(msgspec.json.encode(examples.SERVER_FRAMES[1]))
    check = validator("server_frames")
    check.validate({**frame, "event": {"type": "message.rated", "stars": 5}})
    assert not check.is_valid({**frame, "event": {"stars": 5}})


# --- AsyncAPI 3.0: https://www.asyncapi.com/docs/reference/specification/v3.0.0 --------------------------------------


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def resolve(document: Any, reference: str) -> Any:
    assert reference.startswith("#/"), reference
    for part in reference[2:].split("/"):
        document = document[part]
    return document


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DOCS / "asyncapi.yaml").read_text("utf-8"))
    return loaded


def test_the_asyncapi_document_has_the_parts_that_the_specification_requires(
    document: dict[str, Any],
) -> None:
    assert document["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= document["info"].keys()
    known = {
        "asyncapi",
        "id",
        "info",
        "servers",
        "defaultContentType",
        "channels",
        "operations",
        "components",
    }
    assert all(key in known or key.startswith("x-") for key in document)
    for server in document["servers"].values():
        assert {"host", "protocol"} <= server.keys()
    for operation in document["operations"].values():
        assert operation["action"] in ("send", "receive")
        channel = operation["channel"]["$ref"]
        # 4.7.2: messages must be of the channel's own list, not of the components.
        for message in (*operation["messages"], *operation.get("reply", {}).get("messages", ())):
            assert message["$ref"].startswith(f"{channel}/messages/")


def test_all_references_of_the_asyncapi_document_lead_somewhere(document: dict[str, Any]) -> None:
    found = list(references(document))
    assert found
    for reference in found:
        assert resolve(document, reference) is not None


def test_every_message_is_in_the_document_used_by_an_operation_and_its_example_is_valid(
    document: dict[str, Any],
) -> None:
    messages = document["channels"]["websocket"]["messages"]
    tags = {
        kind.__struct_config__.tag for kind in (*frames.ClientFrame.__args__, *frames.ServerFrame.__args__)
    }
    assert set(messages) == tags | {"typing_shown"}, "typing goes both ways"
    used = {
        reference.rsplit("/", 1)[1]
        for reference in references(document["operations"])
        if "/messages/" in reference
    }
    assert used == set(messages)
    for name, reference in messages.items():
        message = resolve(document, reference["$ref"])
        assert message["name"] == name
        schema = {**message["payload"], "components": document["components"]}
        for example in message["examples"]:
            Draft202012Validator(schema).validate(example["payload"])


def test_all_codes_are_in_the_document(document: dict[str, Any]) -> None:
    assert set(document["x-error-codes"]) == set(codes.ERRORS)
    assert set(document["x-close-codes"]) == {str(code) for code in codes.CLOSES_BY_CODE}


def test_writing_the_documents_gives_the_same_files(tmp_path: Path) -> None:
    schemas.main([str(tmp_path)])
    written = {
        str(path.relative_to(tmp_path)): path.read_text("utf-8")
        for path in tmp_path.rglob("*")
        if path.is_file()
    }
    assert written == schemas.documents()


def test_every_record_of_the_directory_has_a_schema() -> None:
    named = schemas.json_schemas()["directory"]["$defs"]
    assert {kind.__name__ for kind in directory.DirectoryRecord.__args__} <= set(named)

"""The contract for other languages: JSON Schemas and an AsyncAPI 3 document, generated from the types.

`python -m services.contract.schemas [FOLDER]` writes `FOLDER/schemas/*.json` and `FOLDER/asyncapi.yaml` (docs by
default); `make schemas` runs it, and a test tells when the files are no longer what the types say.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, get_args

import msgspec
import yaml

from services.contract import codes, directory, events, examples, frames, generation, internal, notices

Schema = dict[str, Any]

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
PROTOCOL_VERSION: Final = "1.0.0"

_FILES: Final[dict[str, tuple[str, Any]]] = {
    "events": ("An event: a record's value in the log, and what events carry everywhere", events.Event),
    "notices": ("A notice: a record's value in the stream of a workspace's notices", notices.Notice),
    "client_frames": ("A WebSocket message from a client", frames.ClientFrame),
    "server_frames": ("A WebSocket message from a channel server", frames.ServerFrame),
    "directory": ("A record of the compacted topic directory.<epoch>", directory.DirectoryRecord),
    "append_request": ("Body of POST /internal/v1/events", internal.AppendRequest),
    "append_reply": ("Answer of POST /internal/v1/events", internal.AppendReply),
    "connection_page": ("Answer of GET /internal/v1/connections", internal.ConnectionPage),
    "user_presence": ("Answer of GET /internal/v1/presence", internal.UserPresence),
    "set_presence": ("Body of POST /internal/v1/presence", internal.SetPresence),
    "node_list": ("Answer of GET /internal/v1/nodes", internal.NodeList),
    "problem": ("Problem details (RFC 9457), the body of every error over HTTP", internal.Problem),
    "generation": ("A generation record: the facts of an epoch of the log", generation.Generation),
}


def _components(types: Iterable[Any], template: str) -> tuple[list[Schema], dict[str, Schema]]:
    """The schema of each type, and of every struct in them by name."""
    schemas, named = msgspec.json.schema_components(list(types), ref_template=template)
    event_kinds, event_structs = msgspec.json.schema_components([events.Event], ref_template=template)
    for name in ("EventFrame", "AppendRequest"):
        if name in named:
            # msgspec.Raw has no schema of its own: the body's is that of an event, now or in a later release.
            named[name]["properties"]["event"] = {"anyOf": [*event_kinds[0]["anyOf"], _LATER_EVENT]}
            named |= event_structs
    if "NoticeFrame" in named:
        notice_kinds, notice_structs = msgspec.json.schema_components([notices.Notice], ref_template=template)
        named["NoticeFrame"]["properties"]["notice"] = {"anyOf": [*notice_kinds[0]["anyOf"], _LATER_NOTICE]}
        named |= notice_structs
    return list(schemas), {name: _tidy(schema) for name, schema in sorted(named.items())}


_LATER_EVENT: Final[Schema] = {
    "description": "A kind of a later release: show it as unknown, and count it like every other.",
    "type": "object",
    "properties": {"type": {"type": "string"}},
    "required": ["type"],
}


_LATER_NOTICE: Final[Schema] = _LATER_EVENT | {"description": "A kind of a later release."}


def _tidy(schema: Schema) -> Schema:
    """Docstrings are indented as in the source; documents are not."""
    if "description" in schema:
        lines = schema["description"].splitlines()
        schema["description"] = "\n".join(line.removeprefix("    ") for line in lines)
    return schema


def json_schemas() -> dict[str, Schema]:
    """By file name, without `.json`: a schema that stands alone."""
    out = {}
    for name, (title, kind) in _FILES.items():
        (schema,), named = _components([kind], "#/$defs/{name}")
        out[name] = {"$schema": DIALECT, "title": title, **schema, "$defs": named}
    return out


def _message(frame: type, tag: str, example: msgspec.Struct) -> Schema:
    summary = (frame.__doc__ or f"`{tag}`.").strip().splitlines()[0]
    return {
        "name": tag,
        "summary": summary,
        "contentType": "application/json",
        "payload": {"$ref": f"#/components/schemas/{frame.__name__}"},
        "examples": [{"name": tag, "payload": json.loads(msgspec.json.encode(example))}],
    }


def _operations(tag_of: Callable[[type], str]) -> dict[str, Schema]:
    def operation(action: str, summary: str, kinds: Iterable[type], reply: Iterable[type] = ()) -> Schema:
        made: Schema = {
            "action": action,
            "channel": {"$ref": "#/channels/websocket"},
            "summary": summary,
            "messages": [{"$ref": f"#/channels/websocket/messages/{tag_of(kind)}"} for kind in kinds],
        }
        replies = [{"$ref": f"#/channels/websocket/messages/{tag_of(kind)}"} for kind in reply]
        if replies:
            made["reply"] = {"channel": {"$ref": "#/channels/websocket"}, "messages": replies}
        return made

    f = frames
    told = (
        f.EventFrame,
        f.NoticeFrame,
        f.Opened,
        f.Closed,
        f.Gap,
        f.NoticesGap,
        f.PresenceFrame,
        f.TypingFrame,
        f.Reset,
        f.Reconnect,
        f.Error,
    )
    return {
        "connect": operation(
            "receive", "The first message, within ten seconds.", [f.Connect], [f.Welcome, f.Error]
        ),
        "post": operation(
            "receive", "Post a message; safe to repeat with the same id.", [f.Send], [f.Ack, f.Refused]
        ),
        "watch": operation(
            "receive", "Whose presence to be shown, instead of those before.", [f.Watch], [f.PresenceFrame]
        ),
        "be": operation(
            "receive",
            "What the person does: at the device or not, away, typing.",
            [f.Activity, f.SetAway, f.Typing],
        ),
        "heartbeat": operation("receive", "At the pace that `welcome` dictates.", [f.Ping], [f.Pong]),
        "tell": operation("send", "What happens in the person's channels, and to the connection.", told),
    }


def asyncapi() -> Schema:
    """The AsyncAPI 3.0 document of the WebSocket protocol, from the channel server's side (it receives `connect`)."""
    kinds = (*get_args(frames.ClientFrame), *get_args(frames.ServerFrame))
    _, named = _components([frames.ClientFrame, frames.ServerFrame], "#/components/schemas/{name}")
    by_kind = {type(example): example for example in (*examples.CLIENT_FRAMES, *examples.SERVER_FRAMES)}

    def tag_of(kind: type) -> str:
        # One kind goes both ways, with other fields: its name among the messages says which.
        tag = str(kind.__struct_config__.tag)  # type: ignore[attr-defined]
        return f"{tag}_shown" if kind is frames.TypingFrame else tag

    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Lockstep: the WebSocket protocol",
            "version": PROTOCOL_VERSION,
            "description": (
                "One JSON object a text message, told apart by `type`. Both sides ignore fields that they do not "
                "know, and a client ignores messages whose `type` it does not know. Read docs/protocol.md first: "
                "it has the rules of retrying, resuming and gaps."
            ),
        },
        "defaultContentType": "application/json",
        "servers": {
            "node": {
                "host": "127.0.0.1:8101",
                "protocol": "ws",
                "description": "A channel server. `POST /v1/realtime` gives the addresses of all, and the token.",
            }
        },
        "channels": {
            "websocket": {
                "address": "/v1/websocket",
                "servers": [{"$ref": "#/servers/node"}],
                "messages": {
                    tag_of(kind): {"$ref": f"#/components/messages/{tag_of(kind)}"} for kind in kinds
                },
                "bindings": {"ws": {"method": "GET", "bindingVersion": "0.1.0"}},
            }
        },
        "operations": _operations(tag_of),
        "components": {
            "messages": {tag_of(kind): _message(kind, tag_of(kind), by_kind[kind]) for kind in kinds},
            "schemas": named,
        },
        "x-error-codes": {
            error.code: {
                "meaning": error.meaning,
                "next": error.next,
                "retry": error.retry,
                "status": error.status,
            }
            for error in codes.ERRORS.values()
        },
        "x-close-codes": {
            str(close.code): {
                "name": close.name,
                "meaning": close.meaning,
                "next": close.next,
                "reconnect": close.reconnect,
            }
            for close in codes.CLOSES.values()
        },
    }


def documents() -> dict[str, str]:
    """Every generated file: path below the documentation's folder -> content."""
    files = {
        f"schemas/{name}.json": json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
        for name, schema in json_schemas().items()
    }
    files["asyncapi.yaml"] = "# Generated by `make schemas`: do not edit.\n" + yaml.safe_dump(
        asyncapi(), sort_keys=False, allow_unicode=True, width=110
    )
    return files


def main(arguments: list[str]) -> None:
    folder = Path(arguments[0] if arguments else "docs")
    for name, content in documents().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, "utf-8")
        print(path)


if __name__ == "__main__":
    main(sys.argv[1:])

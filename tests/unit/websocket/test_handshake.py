"""Which upgrade requests are refused (RFC 6455 section 4.2), on parsed requests."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict
from picows import WSUpgradeRequest

from channel_server.websocket.handshake import Refusal, Rules, examine

RULES = Rules("/v1/websocket", None)


def request(path: str = "/v1/websocket", **changes: str | list[str] | None) -> WSUpgradeRequest:
    """A browser's request; a change of None leaves the header out, a list sends it several times."""
    headers: dict[str, str | list[str] | None] = {
        "Host": "chat.example",
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
    }
    headers.update({name.replace("_", "-"): value for name, value in changes.items()})
    made = WSUpgradeRequest()
    made.method, made.path, made.version = b"GET", path.encode(), b"HTTP/1.1"
    made.headers = CIMultiDict()
    for name, value in headers.items():
        for one in value if isinstance(value, list) else [] if value is None else [value]:
            made.headers.add(name, one)
    return made


def status(refusal: Refusal | None) -> int | None:
    return None if refusal is None else refusal.status


@pytest.mark.parametrize(
    "connection",
    [
        "Upgrade",
        "upgrade",
        "keep-alive, Upgrade",
        "Upgrade,keep-alive",
        ["keep-alive", "Upgrade"],
        " UPGRADE ",
    ],
)
def test_upgrade_is_a_token_of_the_connection_header(connection: str | list[str]) -> None:
    """Firefox sends `keep-alive, Upgrade`; picows alone would answer 400."""
    asked = request(Connection=connection)
    assert examine(asked, RULES) is None
    assert asked.headers.getall("Connection") == ["Upgrade"]


@pytest.mark.parametrize("connection", [None, "keep-alive", "Upgraded", "close"])
def test_without_the_token_it_is_no_upgrade(connection: str | None) -> None:
    assert status(examine(request(Connection=connection), RULES)) == 426


@pytest.mark.parametrize("upgrade", ["WebSocket", "h2c, websocket", ["h2c", "websocket"]])
def test_websocket_may_be_one_of_the_offered_protocols(upgrade: str | list[str]) -> None:
    assert examine(request(Upgrade=upgrade), RULES) is None


@pytest.mark.parametrize("upgrade", [None, "h2c", "websockets"])
def test_other_protocols_are_told_to_upgrade(upgrade: str | None) -> None:
    refusal = examine(request(Upgrade=upgrade), RULES)
    assert refusal is not None
    assert refusal.status == 426
    assert ("Upgrade", "websocket") in refusal.headers


@pytest.mark.parametrize("version", [None, "8", "7", "0", "13, 8", ["13", "8"]])
def test_only_version_13(version: str | list[str] | None) -> None:
    refusal = examine(request(Sec_WebSocket_Version=version), RULES)
    assert refusal is not None
    assert refusal.status == 426
    assert ("Sec-WebSocket-Version", "13") in refusal.headers, "section 4.4: it says which version it speaks"


@pytest.mark.parametrize(
    ("path", "refused"),
    [
        ("/v1/websocket", None),
        ("/v1/websocket?a=b", None),
        ("/", 404),
        ("/v1/websocket/", 404),
        ("/v1/websocketx", 404),
    ],
)
def test_one_path_is_served(path: str, refused: int | None) -> None:
    assert status(examine(request(path), RULES)) == refused


@pytest.mark.parametrize("host", [None, ["a", "b"]])
def test_exactly_one_host(host: list[str] | None) -> None:
    assert status(examine(request(Host=host), RULES)) == 400


@pytest.mark.parametrize("key", [None, ["a", "b"]])
def test_exactly_one_key(key: list[str] | None) -> None:
    assert status(examine(request(Sec_WebSocket_Key=key), RULES)) == 400


@pytest.mark.parametrize(
    ("origin", "refused"),
    [
        (None, None),
        ("https://chat.example", None),
        ("https://CHAT.example", None),
        ("https://evil.example", 403),
        ("http://chat.example", 403),
        ("null", 403),
        (["https://chat.example", "https://evil.example"], 403),
    ],
)
def test_only_allowed_origins(origin: str | list[str] | None, refused: int | None) -> None:
    rules = Rules("/v1/websocket", frozenset({"https://chat.example"}))
    assert status(examine(request(Origin=origin), rules)) == refused
    assert status(examine(request(Origin=origin), RULES)) is None

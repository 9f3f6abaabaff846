"""The opening handshake on the wire: what is accepted, what is refused with which status, and who gets no answer."""

from __future__ import annotations

import time

import pytest

from tests.system.websocket.raw import ACCEPT, TEXT, RawClient, frame, request, upgrade_headers, wait_until
from tests.system.websocket.serving import EchoProcess, Recorder, running


@pytest.mark.parametrize("connection", ["Upgrade", "keep-alive, Upgrade", "upgrade,keep-alive"])
def test_upgrades_as_browsers_ask_for_them(echo: EchoProcess, connection: str) -> None:
    """Firefox: `keep-alive, Upgrade`. The extension that all of them offer is not taken."""
    offers = ["Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits", "Pragma: no-cache"]
    with RawClient(echo.port) as client:
        client.send(request("/", [*upgrade_headers(connection), *offers]))
        status, headers = client.read_response()
        assert status == 101
        assert headers["sec-websocket-accept"] == ACCEPT
        assert headers["upgrade"].lower() == "websocket"
        assert headers["connection"].lower() == "upgrade"
        assert "sec-websocket-extensions" not in headers
        assert "sec-websocket-protocol" not in headers
        client.send(frame(TEXT, b"hello"))
        assert client.read_text() == "hello"


def test_frames_may_come_with_the_request(echo: EchoProcess) -> None:
    with RawClient(echo.port) as client:
        client.send(request(), frame(TEXT, b"early"))
        assert client.read_response()[0] == 101
        assert client.read_text() == "early"


def test_a_request_byte_by_byte(echo: EchoProcess) -> None:
    with RawClient(echo.port) as client:
        for byte in request():
            client.send(bytes([byte]))
        assert client.read_response()[0] == 101


def without(name: str) -> list[str]:
    return [line for line in upgrade_headers() if not line.startswith(name)]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (request("/elsewhere"), 404),
        (request("/", without("Upgrade")), 426),
        (request("/", without("Connection")), 426),
        (request("/", without("Sec-WebSocket-Version")), 426),
        (request("/", [*without("Sec-WebSocket-Version"), "Sec-WebSocket-Version: 8"]), 426),
        (request("/", without("Host")), 400),
        (request("/", without("Sec-WebSocket-Key")), 400),
        (request("/", [*without("Sec-WebSocket-Key"), "Sec-WebSocket-Key: dG9vIHNob3J0"]), 400),
        (request("/", [*without("Sec-WebSocket-Key"), "Sec-WebSocket-Key: %%%"]), 400),
        (request().replace(b"GET", b"POST"), 400),
        (request().replace(b"HTTP/1.1", b"HTTP/1.0"), 400),
        (request("/", [*upgrade_headers(), "Content-Length: 5"]), 400),
        (request("/", [*upgrade_headers(), "Transfer-Encoding: chunked"]), 400),
        (request("/", [*upgrade_headers(), " folded: line"]), 400),
        (request("/", [*upgrade_headers(), *(f"X-{n}: x" for n in range(130))]), 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS to a plain port\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
    ],
)
def test_refused_with_a_status_and_closed(echo: EchoProcess, data: bytes, status: int) -> None:
    with RawClient(echo.port) as client:
        client.send(data)
        got, headers = client.read_response()
        assert got == status
        assert headers["connection"] == "close"
        if status == 426:
            assert headers["sec-websocket-version"] == "13"
        client.read_until_end()


def test_origins() -> None:
    with running(Recorder(), origins=["https://chat.example"]) as server:
        for origin, expected in [
            ("Origin: https://chat.example", 101),
            ("Origin: https://evil.example", 403),
            ("Origin: null", 403),
            ("User-Agent: no browser", 101),
        ]:
            with RawClient(server.port) as client:
                client.send(request("/", [*upgrade_headers(), origin]))
                assert client.read_response()[0] == expected, origin


def test_a_flood_of_headers_ends_at_16_kib(echo: EchoProcess) -> None:
    with RawClient(echo.port) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n")
        flood = b"X-Flood: " + b"x" * 1000 + b"\r\n"
        with pytest.raises(ConnectionError):
            client.send(flood * 100_000)
        assert client.read_until_end() == b""


def drip_until_closed(client: RawClient) -> float:
    """Send a byte every 50 ms; gives the seconds until the server closes."""
    started = time.monotonic()
    client.socket.settimeout(0.05)
    while time.monotonic() - started < 10:
        try:
            client.send(b"G")
            if not client.socket.recv(100):
                break
        except TimeoutError:
            continue
        except ConnectionError:
            break
    return time.monotonic() - started


def test_a_slow_handshake_is_cut_off_however_busy_it_looks() -> None:
    """The time counts from the accept to the complete request, not between two bytes."""
    with running(Recorder(), handshake_timeout=0.4) as server, RawClient(server.port) as client:
        assert drip_until_closed(client) < 9


def test_over_the_limit_of_connections_the_answer_is_503() -> None:
    recorder = Recorder()
    with running(recorder, max_connections=2) as server:
        first, second = RawClient(server.port).upgrade(), RawClient(server.port).upgrade()
        with RawClient(server.port) as third:
            third.send(request())
            assert third.read_response()[0] == 503
        first.socket.close()
        wait_until(lambda: server.server.connections == 1, what="the first connection is gone")
        with RawClient(server.port) as fourth:
            fourth.upgrade()
        second.socket.close()


def test_a_thousand_clients_that_never_speak_are_gone_after_the_timeout() -> None:
    """And they do not keep out one that does."""
    with running(Recorder(), handshake_timeout=3.0) as server:
        silent = [RawClient(server.port) for _ in range(1000)]
        with RawClient(server.port) as client:
            client.upgrade()
            wait_until(lambda: server.server.sockets <= 1, what="the silent ones are gone")
            assert server.server.connections == 1
        for one in silent:
            assert one.read_until_end() == b""
            one.socket.close()


def test_handshakes_under_way_are_bounded() -> None:
    with running(Recorder(), max_handshakes=10, handshake_timeout=30.0) as server:
        waiting = [RawClient(server.port) for _ in range(10)]
        wait_until(lambda: server.server.sockets == 10, what="ten are accepted")
        with RawClient(server.port) as eleventh:
            assert eleventh.read_until_end().startswith(b"HTTP/1.1 503 ")
        waiting.pop().socket.close()
        wait_until(lambda: server.server.sockets == 9, what="one left")
        with RawClient(server.port) as client:
            client.upgrade()
        for one in waiting:
            one.socket.close()


def test_after_close_nobody_is_accepted_and_connections_stay() -> None:
    recorder = Recorder()
    recorder.on_message_do = lambda connection, message: connection.send_text("still here")
    with running(recorder) as server, RawClient(server.port) as client:
        client.upgrade()
        server.call(server.server.close)
        with pytest.raises(ConnectionRefusedError):
            RawClient(server.port)
        client.send(frame(TEXT, b"hello"))
        assert client.read_text() == "still here"


def test_a_handshake_that_completes_after_close_is_refused() -> None:
    with running(Recorder()) as server, RawClient(server.port) as client:
        client.send(request()[:-2])
        wait_until(lambda: server.server.sockets == 1, what="the socket is accepted")
        server.call(server.server.close)
        client.send(b"\r\n")
        assert client.read_response()[0] == 503


def test_the_last_connection_to_go_ends_the_wait() -> None:
    with running(Recorder()) as server:
        first, second = RawClient(server.port).upgrade(), RawClient(server.port).upgrade()
        server.call(server.server.close)
        waiting = server.start(server.server.wait_closed())
        first.socket.close()
        wait_until(lambda: server.server.connections == 1)
        assert not waiting.done()
        second.socket.close()
        waiting.result(60)
        assert (server.server.connections, server.server.sockets) == (0, 0)

"""The listener against those who mean no good, or have vanished: what they get is bounded, and others do not feel it.

Every client comes over TCP to a real listener, from as many addresses of 127.0.0.0/8 as needed.
"""

from __future__ import annotations

import contextlib
import resource
import threading
from collections.abc import Iterator

import pytest

from channel_server.websocket import metrics, sockets
from channel_server.websocket.addresses import AddressLimits
from tests.system.websocket.raw import TEXT, RawClient, frame, request, upgrade_headers, wait_until
from tests.system.websocket.serving import CHUNK, Recorder, Running, opened, running


def refused(reason: str) -> float:
    return float(metrics.REFUSED.labels(reason)._value.get())


def echoing() -> Recorder:
    recorder = Recorder()
    recorder.on_message_do = lambda connection, message: connection.send_text(message)
    return recorder


def can_talk(client: RawClient) -> bool:
    client.send(frame(TEXT, b"hello"))
    return client.read_text() == "hello"


@contextlib.contextmanager
def talking(server: Running, source: str = "127.0.0.1") -> Iterator[RawClient]:
    with RawClient(server.port, source=source) as client:
        yield client.upgrade()


def test_an_address_has_so_many_connections_and_others_have_theirs() -> None:
    before = refused("address_connections")
    with (
        running(echoing(), address_limits=AddressLimits(connections=3)) as server,
        contextlib.ExitStack() as clients,
    ):
        mine = [clients.enter_context(talking(server, "127.1.1.1")) for _ in range(3)]
        with RawClient(server.port, source="127.1.1.1") as fourth:
            assert fourth.read_until_end().startswith(b"HTTP/1.1 429 ")
        other = clients.enter_context(talking(server, "127.1.1.2"))
        assert all(can_talk(client) for client in [*mine, other])
        wait_until(lambda: refused("address_connections") == before + 1, what="it is counted")
        mine[0].socket.close()
        wait_until(lambda: server.server.sockets == 3, what="one of the four is gone")
        assert can_talk(clients.enter_context(talking(server, "127.1.1.1"))), "there is room again"


def test_an_address_makes_so_many_handshakes_a_second_and_others_make_theirs() -> None:
    with running(echoing(), address_limits=AddressLimits(rate=2.0)) as server:
        answers = []
        for _ in range(40):
            with RawClient(server.port, source="127.1.1.3") as client:
                with contextlib.suppress(ConnectionError):
                    client.send(request())
                answers.append(client.socket.recv(16)[9:12])
        assert answers[:4] == [b"101"] * 4, "a burst of two seconds' worth"
        assert answers.count(b"429") > 20
        with talking(server, "127.1.1.4") as other:
            assert can_talk(other)
        wait_until(
            lambda: not server.call(lambda: len(server.server._addresses)), what="the address is forgotten"
        )


def test_slow_handshakes_give_way_and_who_speaks_at_once_gets_in() -> None:
    """Twenty times as many as may be in the handshake, all of them dripping, from many addresses."""
    before = refused("slow_handshake")
    stop = threading.Event()
    with (
        running(echoing(), max_handshakes=20, handshake_timeout=60.0) as server,
        contextlib.ExitStack() as clients,
    ):

        def drip() -> None:
            slow: list[RawClient] = []
            while not stop.is_set():
                if len(slow) < 400:
                    slow += [
                        clients.enter_context(RawClient(server.port, source=f"127.2.0.{n + 1}"))
                        for n in range(10)
                    ]
                for client in slow:
                    with contextlib.suppress(OSError):
                        client.socket.send(b"G")
                stop.wait(0.05)

        attack = threading.Thread(target=drip)
        attack.start()
        try:
            wait_until(lambda: refused("slow_handshake") > before, what="the slowest gave way")
            served = 0
            for _ in range(10):
                with RawClient(server.port) as client, contextlib.suppress(ConnectionError):
                    client.send(request())
                    served += client.socket.recv(16).startswith(b"HTTP/1.1 101")
                assert server.server.handshakes <= 20
                stop.wait(0.1)
            # Only while every one of the twenty is younger than the grace is a newcomer turned away.
            assert served >= 1
            wait_until(lambda: served_at_once(server), what="everybody who speaks at once gets in")
        finally:
            stop.set()
            attack.join()


def served_at_once(server: Running) -> bool:
    with RawClient(server.port) as client:
        try:
            return can_talk(client.upgrade())
        except (AssertionError, ConnectionError):
            return False


def test_who_is_ended_to_make_room_is_told_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "HANDSHAKE_GRACE", 0.0)
    with running(echoing(), max_handshakes=2, handshake_timeout=60.0) as server:
        first, second = RawClient(server.port), RawClient(server.port)
        wait_until(lambda: server.server.handshakes == 2)
        with talking(server) as third:
            assert first.read_until_end().startswith(b"HTTP/1.1 408 ")
            second.send(request())
            assert second.read_response()[0] == 101
            assert can_talk(third)
        first.socket.close()
        second.socket.close()


def test_header_floods_by_many_at_once_leave_others_alone() -> None:
    """By bytes and by count, from 200 clients; each is cut off at 16 KiB or at 128 headers."""
    by_bytes = b"GET / HTTP/1.1\r\nX-Flood: " + b"x" * 40_000
    by_count = request("/", [*upgrade_headers(), *(f"X-{n}: x" for n in range(500))])
    with running(echoing()) as server, talking(server) as honest:
        floods = [RawClient(server.port, source=f"127.3.0.{n % 250 + 1}") for n in range(200)]
        for number, flood in enumerate(floods):
            with contextlib.suppress(ConnectionError):
                flood.send(by_bytes if number % 2 else by_count)
        assert can_talk(honest)
        for flood in floods:
            assert b" 101 " not in flood.read_until_end()
            flood.socket.close()
        wait_until(lambda: server.server.sockets == 1, what="all of them are gone but one")
        assert can_talk(honest)


def test_those_who_linger_after_their_close_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "LINGERING_AT_MOST", 10)
    with running(echoing(), path="/here") as server:
        # Each is refused and does not close its side: the server waits for that, for two seconds.
        gone = [RawClient(server.port) for _ in range(60)]
        for client in gone:
            client.send(request("/elsewhere"))
            assert client.read_response()[0] == 404
        assert server.call(lambda: server.server._socket.lingering) <= 10
        assert server.server.sockets <= 11
        for client in gone:
            client.socket.close()


def test_clients_leave_the_process_descriptors_of_its_own() -> None:
    """At the soft limit Kafka could not be reached any more, and no file be opened."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = refused("descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        server_of = running(echoing(), max_handshakes=1000)
        server = server_of.__enter__()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with contextlib.ExitStack() as clients:
        clients.callback(server_of.__exit__, None, None, None)
        inside = [clients.enter_context(talking(server)) for _ in range(512 - 128)]
        with RawClient(server.port) as late:
            assert late.read_until_end().startswith(b"HTTP/1.1 503 ")
        wait_until(lambda: refused("descriptors") == before + 1, what="it is counted")
        assert all(can_talk(client) for client in inside[:20])


def test_the_kernel_keeps_no_more_than_the_send_buffer_of_who_does_not_read() -> None:
    """Left to itself it grows the buffer to `net.ipv4.tcp_wmem`'s maximum, which is megabytes."""
    recorder = Recorder()
    with running(recorder, send_buffer=64 * 1024, close_timeout=0.4) as server:
        with RawClient(server.port, receive_buffer=4096) as client:
            client.upgrade()
            connection = opened(server, recorder)

            def write() -> int:
                for _ in range(100):
                    connection.write_prepared(CHUNK)
                return connection.buffered()

            while server.call(write) < 4 << 20:
                pass
            # The kernel doubles what is asked for, to count its own overhead in.
            assert server.call(connection.kernel_unsent) <= 2 * 64 * 1024
            wait_until(lambda: server.call(lambda: connection.unsent_since) > 0, what="its age is known")
            first = server.call(lambda: connection.unsent_since)
            assert len(client.socket.recv(1000)) == 1000
            wait_until(lambda: connection._marks is not None and len(connection._marks) > 3)
            assert server.call(lambda: connection.unsent_since) == first, "the oldest byte is still there"
            unread = server.call(lambda: connection._written) - 1000
            while unread > 0:
                unread -= len(client.socket.recv(1 << 20))
            wait_until(lambda: server.call(lambda: connection.unsent_since) == 0.0, what="all is sent")
        wait_until(lambda: server.server.sockets == 0)

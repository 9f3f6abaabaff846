"""The shell over real sockets, against a server that misbehaves on purpose."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import httpx
import pytest

from client import (
    Ack,
    ClientClosed,
    InvalidMessage,
    MessageEvent,
    Opened,
    Recorder,
    SendRefused,
    SessionEnded,
    State,
    Unreachable,
)
from client.model import Closed
from services.contract import frames
from services.contract.ids import born_ms
from tests.stack.waiting import PATIENCE_S, until
from tests.system.client.scripted import C, D, Web, client, connected, event, node, page, realtime, seqs


async def test_a_broken_connection_is_resumed_and_what_was_under_way_sent_again_under_its_id() -> None:
    async with node() as one, connected(one, Web(one), {C: 5}) as (chat, peer):
        await peer.send(event(6))
        posted = chat.post(C, "hello")
        first = await peer.receive(frames.Send)
        peer.break_off()

        again = await one.peer()
        connect = await again.welcome({})
        assert connect.resume == frames.Resume(epoch=1, channels={C: 6})
        second = await again.receive(frames.Send)
        assert second == first
        await again.send(event(7), again.ack(second, 8))
        assert (await posted).seq == 8
        assert await seqs(chat, 2) == [6, 7]


async def test_it_goes_to_the_other_node_when_its_own_is_gone() -> None:
    async with (
        node() as one,
        node() as two,
        connected(one, Web(one), {C: 0}, nodes=[two.url]) as (chat, peer),
    ):
        await peer.send(event(1))
        assert await seqs(chat, 1) == [1]
        assert one.server is not None
        one.server.close(close_connections=False)
        peer.break_off()
        other = await two.peer()
        assert (await other.welcome({})).resume == frames.Resume(epoch=1, channels={C: 1})


async def test_a_hole_is_not_shown_and_the_resume_fills_it() -> None:
    async with node() as one, connected(one, Web(one), {C: 0}) as (chat, peer):
        await peer.send(event(1), event(3))
        again = await one.peer()
        assert (await again.welcome({C: 3})).resume == frames.Resume(epoch=1, channels={C: 1})
        await again.send(event(2), event(3), event(4))
        assert await seqs(chat, 4) == [1, 2, 3, 4]


async def test_a_gap_is_fetched_and_shown_first_even_if_history_is_late() -> None:
    web_asked: list[dict[str, str]] = []

    def history(request: httpx.Request) -> httpx.Response:
        web_asked.append(dict(request.url.params))
        if len(web_asked) == 1:
            return httpx.Response(503, json={"code": "not_yet", "detail": "", "retry_after_ms": 10})
        after = int(request.url.params["after"])
        return page(C, [event(seq) for seq in range(after + 1, min(after + 2, 3) + 1)], 3)

    async with node() as one:
        web = Web(one)
        web.history = history
        async with connected(one, web, {C: 0, D: 0}) as (chat, peer):
            await peer.send(frames.Gap(channel=C, from_=1, to=3), event(4), event(1, channel=D), event(5))
            events = chat.events()
            shown: list[tuple[str, int, str]] = []
            async with asyncio.timeout(PATIENCE_S):
                while len(shown) < 6:
                    found = await anext(events)
                    if isinstance(found, MessageEvent):
                        shown.append((found.channel, found.seq, found.via))
    assert [each for each in shown if each[0] == C] == [
        (C, 1, "gap"),
        (C, 2, "gap"),
        (C, 3, "gap"),
        (C, 4, "live"),
        (C, 5, "live"),
    ]
    assert (D, 1, "live") in shown
    assert web_asked[-1]["at_least"] == "3"


@pytest.mark.parametrize(
    ("code", "name"), [(4001, "session_revoked"), (4002, "deactivated"), (4004, "protocol_violation")]
)
async def test_closed_for_good_is_told_to_everybody_who_waits(code: int, name: str) -> None:
    async with node() as one, connected(one, Web(one), {C: 0}) as (chat, peer):
        await peer.send(event(1))
        posted = chat.post(C, "hello")
        await peer.receive(frames.Send)
        await peer.close(code)
        with pytest.raises(SessionEnded) as caught:
            await posted
        assert (caught.value.close_code, caught.value.name) == (code, name)
        assert await seqs(chat, 1) == [1]  # what came before it is still shown
        with pytest.raises(SessionEnded):
            await anext(chat.events())
        with pytest.raises(SessionEnded):
            await chat.send(C, "more")
        assert chat.state.name == "ended"


@pytest.mark.parametrize("code", [1001, 1011, 4005, 4006, 4007, 4008, 4012, 1000, 4999])
async def test_other_closes_are_come_back_from(code: int) -> None:
    async with node() as one, connected(one, Web(one), {C: 3}) as (_, peer):
        await peer.close(code)
        again = await one.peer()
        assert (await again.welcome({})).resume == frames.Resume(epoch=1, channels={C: 3})


async def test_a_refused_token_is_replaced() -> None:
    async with node() as one:
        web = Web(one)
        async with connected(one, web, {C: 0}, realtime=realtime(one)) as (chat, peer):
            assert web.tokens == 0
            await peer.close(4000)
            again = await one.peer()
            assert (await again.welcome({})).token == "token-1"
            await until(lambda: chat.state.name == "connected")


async def test_a_token_that_is_never_taken_ends_it() -> None:
    async with node() as one:
        it = client(Web(one))
        entering = asyncio.create_task(it.__aenter__())
        for _ in range(4):
            peer = await one.peer()
            await peer.receive(frames.Connect)
            await peer.close(4000)
        with pytest.raises(SessionEnded):
            await entering


async def test_the_web_app_is_not_needed_to_come_back_nor_to_begin_with_a_kept_token() -> None:
    async with node() as one:
        web = Web(one)
        web.away = True
        async with connected(one, web, {C: 0}, realtime=realtime(one)) as (chat, peer):
            peer.break_off()
            again = await one.peer()
            assert (await again.welcome({})).token == "kept"
            posted = chat.post(C, "hello")
            send = await again.receive(frames.Send)
            await again.send(again.ack(send, 1))
            assert (await posted).seq == 1


async def test_kept_addresses_that_nobody_answers_at_are_asked_for_again() -> None:
    async with node() as gone:
        pass
    async with node() as one:
        web = Web(one)
        it = client(web, realtime=realtime(gone))
        entering = asyncio.create_task(it.__aenter__())
        assert (await (await one.peer()).welcome({})).token == "token-1"
        await entering
        await it.aclose()


async def test_without_a_token_it_waits_for_the_web_app() -> None:
    async with node() as one:
        web = Web(one)
        web.away = True
        it = client(web)
        entering = asyncio.create_task(it.__aenter__())
        await until(lambda: it.state.name == "waiting" and it.state.reason)
        web.away = False
        await (await one.peer()).welcome({})
        await entering
        await it.aclose()


@pytest.mark.parametrize("kept", [False, True])
async def test_while_no_node_is_known_it_waits_and_connects_when_the_web_app_names_one(kept: bool) -> None:
    web = Web()
    it = client(web, realtime=realtime() if kept else None)
    entering = asyncio.create_task(it.__aenter__())
    await until(lambda: it.state.name == "waiting" and it.state.reason == "no channel server is known")
    assert not entering.done()
    async with node() as one:
        web.nodes = (one,)
        await (await one.peer()).welcome({})
        await entering
        assert it.state.name == "connected"
        await it.aclose()


async def test_nobody_there_is_said_in_time() -> None:
    async with node() as gone:
        pass
    web = Web(gone)
    begun = time.monotonic()
    with pytest.raises(Unreachable, match="cannot connect"):
        async with client(web, connect_within_s=0.5):
            pytest.fail("connected to nobody")
    assert time.monotonic() - begun < 20


async def test_silence_for_two_heartbeats_is_a_dead_connection() -> None:
    async with node() as one:
        it = client(Web(one))
        entering = asyncio.create_task(it.__aenter__())
        peer = await one.peer()
        await peer.welcome({C: 0}, heartbeat_ms=700)
        await entering
        assert isinstance(frames.decode_client_frame(await peer.socket.recv()), frames.Ping)
        again = await one.peer()  # nothing was answered
        assert (await again.welcome({}, heartbeat_ms=700)).resume is not None
        for _ in range(4):  # answered: it stays
            assert isinstance(frames.decode_client_frame(await again.socket.recv()), frames.Ping)
            await again.send(frames.Pong())
        assert one.peers.empty()
        await it.aclose()


async def test_a_node_about_to_leave_is_left_for_one_it_names() -> None:
    async with node() as one, node() as two, connected(one, Web(one), {C: 0}) as (chat, peer):
        await peer.send(frames.Reconnect(after_ms=2_000, nodes=[two.url]))
        posted = chat.post(C, "while it is leaving")
        send = await peer.receive(frames.Send)  # the old connection serves on until then
        await peer.send(peer.ack(send, 1))
        assert (await posted).seq == 1
        other = await two.peer()
        assert (await other.welcome({C: 1})).resume == frames.Resume(epoch=1, channels={C: 0})
        await peer.socket.wait_closed()
        assert peer.socket.close_code == 1000


async def test_frames_of_a_newer_server_are_ignored() -> None:
    async with node() as one, connected(one, Web(one), {C: 0}) as (chat, peer):
        await peer.socket.send('{"type":"weather","sun":true}')
        await peer.send(event(1))
        assert await seqs(chat, 1) == [1]


async def test_bytes_that_are_no_protocol_at_all_end_the_connection() -> None:
    async with node() as one, connected(one, Web(one), {C: 0}) as (_, peer):
        await peer.socket.send("<html>")
        await (await one.peer()).welcome({})


async def test_a_final_refusal_is_raised_and_a_passing_one_is_not() -> None:
    async with node() as one, connected(one, Web(one), {C: 0}) as (chat, peer):
        refused, accepted = chat.post(C, "no"), chat.post(C, "yes")
        send = await peer.receive(frames.Send)
        await peer.send(
            frames.Refused(channel=C, id=send.id, code="archived", message="The channel is archived.")
        )
        with pytest.raises(SendRefused, match="archived") as caught:
            await refused
        assert caught.value.code == "archived"
        for _ in range(3):
            send = await peer.receive(frames.Send)
            await peer.send(
                frames.Refused(channel=C, id=send.id, code="log_unavailable", message="", retry_after_ms=5)
            )
        last = await peer.receive(frames.Send)
        assert last == send
        await peer.send(peer.ack(last, 1))
        assert (await accepted).seq == 1


async def test_an_expired_id_is_looked_for_and_only_then_born_again(tmp_path: Path) -> None:
    asked: list[dict[str, str]] = []

    def history(request: httpx.Request) -> httpx.Response:
        asked.append(dict(request.url.params))
        if len(asked) == 1:
            return httpx.Response(503, json={"code": "not_yet", "detail": "", "retry_after_ms": 10})
        return page(C, [event(4), event(5)], 5)

    now = time.time_ns() // 1_000_000 + 500_000
    path = tmp_path / "recording.jsonl"
    async with node() as one:
        web = Web(one)
        web.history = history
        with Recorder(path, "test") as recorder:
            async with connected(one, web, {C: 3}, recorder=recorder) as (chat, peer):
                posted, behind = chat.post(C, "old"), chat.post(C, "behind it")
                send = await peer.receive(frames.Send)
                await peer.send(
                    frames.Refused(channel=C, id=send.id, code="expired", message="", head=5, now=now)
                )
                born_again = await peer.receive(frames.Send)
                assert born_again.text == "old"
                assert 0 <= born_ms(born_again.id) - now < 5_000
                await peer.send(peer.ack(born_again, 6))
                last = await peer.receive(frames.Send)
                await peer.send(peer.ack(last, 7))
                assert ((await posted).seq, (await behind).seq) == (6, 7)
    assert asked[-1]["at_least"] == "5"
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert [
        line["kind"] for line in lines if line["kind"] not in ("connected", "opened", "disconnected")
    ] == [
        "sent",
        "refused",
        "rebirth",
        "sent",
        "ack",
        "sent",
        "ack",
    ]
    rebirth = next(line for line in lines if line["kind"] == "rebirth")
    assert (rebirth["old_id"], rebirth["new_id"]) == (send.id, born_again.id)


async def test_an_expired_id_that_history_holds_is_acknowledged() -> None:
    async with node() as one:
        web = Web(one)
        async with connected(one, web, {C: 3}) as (chat, peer):
            posted = chat.post(C, "old")
            send = await peer.receive(frames.Send)
            stored = frames.EventFrame(
                channel=C,
                seq=4,
                id=send.id,
                sender=chat.user_id,
                at=time.time_ns() // 1_000_000,
                event=event(4).event,
            )
            web.history = lambda _: page(C, [stored], 4)
            await peer.send(frames.Refused(channel=C, id=send.id, code="expired", message="", head=4, now=1))
            assert await posted == Ack(epoch=1, channel=C, id=send.id, seq=4, at=stored.at, duplicate=True)


async def test_a_log_that_was_replaced_is_begun_again() -> None:
    async with node() as one, connected(one, Web(one), {C: 9}) as (chat, peer):
        events = chat.events()
        assert await anext(events) == Opened(epoch=1, channel=C, head=9)
        await peer.close(4010)
        again = await one.peer()
        await again.welcome({C: 2}, epoch=2)
        assert [type(await anext(events)).__name__, await anext(events)] == [
            "Reset",
            Opened(epoch=2, channel=C, head=2),
        ]


async def test_closed_and_opened_again() -> None:
    async with node() as one, connected(one, Web(one), {C: 1}) as (chat, peer):
        await peer.send(
            event(2), frames.Closed(channel=C, last_seq=2), frames.Opened(channel=C, head=5), event(6)
        )
        events = chat.events()
        shown = [await anext(events) for _ in range(5)]
        assert [shown[0], shown[2], shown[3]] == [
            Opened(epoch=1, channel=C, head=1),
            Closed(channel=C, last_seq=2),
            Opened(epoch=1, channel=C, head=5),
        ]
        assert isinstance(shown[4], MessageEvent)
        assert shown[4].seq == 6


async def test_closing_fails_what_was_not_acknowledged_and_ends_the_events() -> None:
    async with node() as one, connected(one, Web(one), {C: 0}) as (chat, peer):
        posted = chat.post(C, "hello")
        await peer.receive(frames.Send)
        await chat.aclose()
        with pytest.raises(ClientClosed):
            await posted
        assert [type(each).__name__ async for each in chat.events()] == ["Opened"]
        with pytest.raises(ClientClosed):
            chat.post(C, "more")
        await peer.socket.wait_closed()
        assert peer.socket.close_code == 1000


@pytest.mark.parametrize("text", ["", "a\x00b", "\ud800", "x" * 12_001, "\x01" * 12_000])
async def test_what_no_server_takes_is_refused_at_once(text: str) -> None:
    async with node() as one, connected(one, Web(one), {C: 0}) as (chat, _):
        with pytest.raises(InvalidMessage):
            chat.post(C, text)


async def test_the_states_tell_the_story() -> None:
    states: list[State] = []
    async with node() as one, connected(one, Web(one), {C: 0}, on_state=states.append) as (_, peer):
        peer.break_off()
        await (await one.peer()).welcome({})
        await until(lambda: [state.name for state in states][-1] == "connected")
    assert [state.name for state in states] == [
        "connecting",
        "connected",
        "waiting",
        "connecting",
        "connected",
        "ended",
    ]

"""What becomes of a gap, and of a message whose fate is not known, when history gives no answer or a useless one."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import httpx
import pytest

from client import CatchingUp, Gap, LockstepClient, MessageEvent, Recorder
from client.streams import HELD_EVENTS
from services.contract import frames
from tests.stack.waiting import PATIENCE_S, until
from tests.system.client.scripted import C, D, Web, client, connected, event, node, page, realtime, seqs


def problem(code: str, status: int) -> httpx.Response:
    return httpx.Response(status, json={"code": code, "detail": f"because {code}"})


async def gap_then(chat: LockstepClient, count: int) -> tuple[Gap, list[int]]:
    """The gap of C that is shown next, and the numbers of the `count` events behind it."""
    events = chat.events()
    async with asyncio.timeout(PATIENCE_S):
        async for shown in events:
            if isinstance(shown, Gap):
                return shown, await seqs(chat, count)
            assert not isinstance(shown, MessageEvent) or shown.channel != C, "shown before the gap"
    raise AssertionError("the stream ended")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (lambda: page(C, [], 9), "does not have 1"),
        (lambda: page(C, [event(2), event(3)], 9), "does not have 1"),
        (lambda: page(C, [event(1), event(2), event(3)], 9, epoch=2), "epoch 2"),
        (lambda: problem("not_a_member", 403), "because not_a_member"),
        (lambda: problem("forbidden", 403), "because forbidden"),
        (lambda: problem("not_found", 404), "because not_found"),
        (lambda: problem("gone", 410), "because gone"),
        (lambda: problem("refresh_invalid", 401), "because refresh_invalid"),
    ],
)
async def test_a_gap_that_history_will_not_fill_is_told_at_once_and_the_channel_goes_on(
    answer: object, why: str
) -> None:
    assert callable(answer)
    async with node() as one:
        web = Web(one)
        web.history = lambda _: answer()
        async with connected(one, web, {C: 0}) as (chat, peer):
            begun = time.monotonic()
            await peer.send(frames.Gap(channel=C, from_=1, to=3), event(4), event(5))
            gap, behind = await gap_then(chat, 2)
            assert time.monotonic() - begun < 30, "or it would have been given up, and not be told at once"
            assert (gap.first, gap.last) == (1, 3)
            assert why in gap.reason
            assert behind == [4, 5]
            await peer.send(event(6))
            assert await seqs(chat, 1) == [6]


async def test_a_hole_in_the_middle_of_history_is_told_behind_what_was_there() -> None:
    async with node() as one:
        web = Web(one)
        web.history = lambda _: page(C, [event(1), event(3)], 3)
        async with connected(one, web, {C: 0}) as (chat, peer):
            await peer.send(frames.Gap(channel=C, from_=1, to=3), event(4))
            assert await seqs(chat, 1) == [1]
            gap, behind = await gap_then(chat, 1)
            assert (gap.first, gap.last, behind) == (2, 3, [4])


@pytest.mark.parametrize("trouble", ["away", "silent", "behind", "a proxy's page"])
async def test_a_gap_is_given_up_in_time_and_said_meanwhile(trouble: str, tmp_path: Path) -> None:
    told: list[CatchingUp] = []
    path = tmp_path / "recording.jsonl"

    async def handle(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/realtime":
            return web(request)
        match trouble:
            case "away":
                raise httpx.ConnectError("refused")
            case "silent":
                await asyncio.Event().wait()
                raise AssertionError("waited for ever")
            case "behind":
                return problem("not_yet", 503)
            case _:
                return httpx.Response(500, text="<html>")

    async with node() as one:
        web = Web(one)
        http = httpx.AsyncClient(transport=httpx.MockTransport(handle))
        with Recorder(path, "test") as recorder:
            async with connected(
                one,
                web,
                {C: 0, D: 0},
                recorder=recorder,
                http=http,
                on_catching_up=told.append,
                fill_within_s=1.0,
                patience_s=0.1,
            ) as (chat, peer):
                await peer.send(frames.Gap(channel=C, from_=1, to=3), event(4), event(1, channel=D))
                assert await seqs(chat, 1, channel=D) == [1]  # the others do not wait
                if trouble != "silent":  # there its first try is its last
                    await until(lambda: told)
                    assert chat.catching_up[C] == told[0]
                begun = time.monotonic()
                gap, behind = await gap_then(chat, 1)
                assert time.monotonic() - begun < 15
                assert (gap.first, gap.last, behind) == (1, 3, [4])
                assert gap.reason
                assert chat.catching_up == {}
                assert [(each.channel, each.first, each.last) for each in told] == [(C, 1, 3)]
                assert told[0].reason
        lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        assert [(line["from"], line["to"]) for line in lines if line["kind"] == "gap"] == [(1, 3), (1, 3)]


async def test_what_grew_behind_a_gap_that_is_given_up_is_part_of_it_and_recorded(tmp_path: Path) -> None:
    async with node() as one:
        web = Web(one)
        web.history = lambda _: problem("database_unavailable", 503)
        path = tmp_path / "recording.jsonl"
        last = HELD_EVENTS + 2  # one more than is held back
        with Recorder(path, "test") as recorder:
            async with connected(one, web, {C: 0}, recorder=recorder, fill_within_s=5.0) as (chat, peer):
                await peer.send(frames.Gap(channel=C, from_=1, to=1))
                await peer.send(*(event(seq) for seq in range(2, last + 2)))
                gap, behind = await gap_then(chat, 1)
                assert (gap.first, gap.last, behind) == (1, last, [last + 1])
        lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        assert [(line["from"], line["to"]) for line in lines if line["kind"] == "gap"][-1] == (1, last)


async def test_a_gap_is_given_up_although_the_connection_breaks_again_and_again() -> None:
    async with node() as one:
        web = Web(one)
        web.history = lambda _: problem("database_unavailable", 503)
        shown: list[object] = []
        async with connected(one, web, {C: 0}, fill_within_s=1.2, patience_s=0.05) as (chat, peer):

            async def look() -> None:
                async for each in chat.events():
                    shown.append(each)

            looking = asyncio.create_task(look())
            async with asyncio.timeout(60):
                while not any(isinstance(each, Gap) for each in shown):
                    await peer.send(frames.Gap(channel=C, from_=1, to=3))
                    await asyncio.sleep(0.3)  # how long this connection lives
                    peer.break_off()
                    peer = await one.peer()
                    await peer.welcome({C: 3})
            looking.cancel()
        assert next(each for each in shown if isinstance(each, Gap)).last == 3


async def test_history_that_comes_back_in_time_fills_the_gap() -> None:
    async with node() as one:
        web = Web(one)
        answers = iter([problem("database_unavailable", 503)] * 3)
        web.history = lambda _: next(answers, None) or page(C, [event(1), event(2)], 2)
        async with connected(one, web, {C: 0}, patience_s=0.01) as (chat, peer):
            await peer.send(frames.Gap(channel=C, from_=1, to=2), event(3))
            assert await seqs(chat, 3) == [1, 2, 3]
            assert chat.catching_up == {}


async def test_a_proof_of_the_old_log_does_not_make_a_message_anew_in_the_new_one() -> None:
    """Expired in epoch 1; while history is read, the log is replaced. Only the new log's word counts."""
    asking = asyncio.Event()
    answered = asyncio.Event()

    async def handle(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/realtime":
            return web(request)
        if not asking.is_set():
            asking.set()
            await answered.wait()
            return page(C, [event(4), event(5)], 5)  # the old epoch's, and it is not there
        return page(C, [event(4), event(5)], 5, epoch=2)

    async with node() as one:
        web = Web(one)
        http = httpx.AsyncClient(transport=httpx.MockTransport(handle))
        chat = client(web, realtime=realtime(one), http=http)
        entering = asyncio.create_task(chat.__aenter__())
        peer = await one.peer()
        await peer.welcome({C: 3})
        await entering
        posted = chat.post(C, "once")
        first = await peer.receive(frames.Send)
        now = time.time_ns() // 1_000_000 + 500_000
        await peer.send(frames.Refused(channel=C, id=first.id, code="expired", message="", head=5, now=now))
        async with asyncio.timeout(PATIENCE_S):
            await asking.wait()
        await peer.send(frames.Reset(epoch=2))
        await peer.close(4010)
        again = await one.peer()
        await again.welcome({C: 5}, epoch=2)
        answered.set()
        second = await again.receive(frames.Send)
        assert (second.id, second.text) == (first.id, "once")
        await again.send(again.ack(second, 6))
        ack = await posted
        assert (ack.epoch, ack.seq) == (2, 6)
        await chat.aclose()


async def test_history_of_another_epoch_proves_nothing_about_an_expired_message() -> None:
    """The web app has not heard of the new epoch yet: that the message is absent there is no proof."""
    asked: list[httpx.Request] = []
    async with node() as one:
        web = Web(one)
        async with connected(one, web, {C: 3}, realtime=realtime(one)) as (chat, peer):
            posted = chat.post(C, "once")
            send = await peer.receive(frames.Send)
            stored = frames.EventFrame(
                channel=C,
                seq=4,
                id=send.id,
                sender=chat.user_id,
                at=time.time_ns() // 1_000_000,
                event=event(4).event,
            )

            def history(request: httpx.Request) -> httpx.Response:
                asked.append(request)
                return page(C, [event(4)], 4, epoch=2) if len(asked) == 1 else page(C, [stored], 4)

            web.history = history
            await peer.send(frames.Refused(channel=C, id=send.id, code="expired", message="", head=4, now=1))
            async with asyncio.timeout(PATIENCE_S):
                assert (await posted).seq == 4
        assert len(asked) == 2

"""The speakers of the benchmarks post what they are told to, and see what is refused, missing, unanswered or late."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from benchmarks.core.rounds import Spoiled
from benchmarks.core.speakers import Speakers, speakers
from services.contract.ids import is_event_id, new_entity_id, new_event_id

CHANNELS = [new_entity_id("ch") for _ in range(3)]

Answer = Callable[[dict[str, Any]], list[dict[str, Any]]]
"""What is said to a client that posted this."""


@contextlib.asynccontextmanager
async def spoken_to(
    answer: Answer, clients: int = 1, unasked: tuple[asyncio.Event, list[dict[str, Any]]] | None = None
) -> AsyncIterator[Speakers]:
    """Speakers at a server that pings before it welcomes them, answers in this way, and says `unasked` when that is set."""

    async def speak(connection: ServerConnection) -> None:
        assert unasked is not None
        await unasked[0].wait()
        for said in unasked[1]:
            await connection.send(json.dumps(said, separators=(",", ":")))

    async def handler(connection: ServerConnection) -> None:
        assert json.loads(await connection.recv())["type"] == "connect"
        await (await connection.ping(b"there?"))
        await connection.send('{"type":"welcome","session":"ses"}')
        speaking = asyncio.create_task(speak(connection)) if unasked else None
        async for message in connection:
            for said in answer(json.loads(message)):
                await connection.send(json.dumps(said, separators=(",", ":")))
        if speaking:
            await speaking

    async with serve(handler, "127.0.0.1", 0, compression=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with (
            asyncio.timeout(30),
            speakers(f"ws://127.0.0.1:{port}/v1/websocket", ["t"] * clients) as talkers,
        ):
            yield talkers


def ack(post: dict[str, Any]) -> dict[str, Any]:
    return {"type": "ack", "channel": post["channel"], "id": post["id"], "seq": 1, "at": 1}


def event(channel: str, seq: int, text: str = "") -> dict[str, Any]:
    body = {"type": "message.posted", "text": text}
    return {
        "type": "event",
        "channel": channel,
        "seq": seq,
        "id": new_event_id(),
        "sender": "u",
        "at": 1,
        "event": body,
    }


async def test_they_post_in_turn_at_the_rate_and_time_answers_and_deliveries() -> None:
    posts: list[dict[str, Any]] = []
    heads = dict.fromkeys(CHANNELS, 0)

    def answer(post: dict[str, Any]) -> list[dict[str, Any]]:
        posts.append(post)
        heads[post["channel"]] += 1
        return [event(post["channel"], heads[post["channel"]], post["text"]), ack(post)]

    async with spoken_to(answer, clients=3) as talkers:
        talk = await talkers.talk([CHANNELS[:2], [], CHANNELS[2:]], 2_000, 0.5, 100)
    talk.must_be_whole()
    assert (talk.sent, talk.acknowledged, talk.delivered, talk.delivery.count) == (1_000, 1_000, 1_000, 1_000)
    assert 0 < talk.ack.ms(50) <= talk.ack.ms(99)
    assert talk.delivery.ms(99) < 20_000
    assert talk.seconds > 0.4
    assert heads == dict(zip(CHANNELS, (250, 250, 500), strict=True))
    assert len({post["id"] for post in posts}) == 1_000
    assert all(is_event_id(post["id"]) and len(post["text"]) == 100 for post in posts)


async def test_a_refusal_is_no_answer_that_counts_as_one() -> None:
    def answer(post: dict[str, Any]) -> list[dict[str, Any]]:
        return [
            {
                "type": "refused",
                "channel": post["channel"],
                "id": post["id"],
                "code": "slow_down",
                "message": "m",
            }
        ]

    async with spoken_to(answer) as talkers:
        talk = await talkers.talk([CHANNELS], 100, 0.1)
    assert (talk.refused, talk.acknowledged, talk.unanswered) == ({"slow_down": 10}, 0, 0)
    with pytest.raises(Spoiled):
        talk.must_be_whole()


async def test_an_event_that_does_not_follow_is_a_hole() -> None:
    seqs = iter([7, 8, 10, 10, 11])

    def answer(post: dict[str, Any]) -> list[dict[str, Any]]:
        return [event(CHANNELS[0], next(seqs)), ack(post)]

    async with spoken_to(answer) as talkers:
        talk = await talkers.talk([CHANNELS], 100, 0.05)
    assert (talk.holes, talk.delivered) == (2, 5)


async def test_answers_of_an_earlier_run_are_not_taken_for_those_of_this_one() -> None:
    earlier: list[dict[str, Any]] = []

    def answer(post: dict[str, Any]) -> list[dict[str, Any]]:
        earlier.append(ack(post))
        return [ack(post), *earlier[:3]]

    async with spoken_to(answer) as talkers:
        for _ in range(2):
            talk = await talkers.talk([CHANNELS], 100, 0.1)
            assert (talk.sent, talk.acknowledged, talk.unanswered) == (10, 10, 0)


async def test_what_has_no_answer_is_said_and_is_not_whole() -> None:
    unanswered = [True, False, True]
    async with spoken_to(lambda post: [] if unanswered.pop() else [ack(post)]) as talkers:
        talk = await talkers.talk([CHANNELS], 100, 0.03)
    assert (talk.sent, talk.acknowledged, talk.unanswered) == (3, 1, 2)
    with pytest.raises(Spoiled):
        talk.must_be_whole()


async def test_what_is_shown_is_counted_from_the_beginning_on() -> None:
    said = asyncio.Event()

    def answer(post: dict[str, Any]) -> list[dict[str, Any]]:
        return [event(CHANNELS[0], 1), event(CHANNELS[0], 2), ack(post)]

    async with spoken_to(answer, unasked=(said, [event(CHANNELS[0], 3)])) as talkers:
        assert (await talkers.talk([CHANNELS], 10, 0.1)).delivered == 2
        await talkers.begin()
        said.set()
        heard = await talkers.heard(1)
    assert (heard.delivered, heard.holes) == (1, 0)

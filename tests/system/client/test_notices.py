"""Promise: a notice is one record, reaches every device of whom it addresses over all nodes, and nobody else; who was away
gets it later, also when the nodes have let it go."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import msgspec
import pytest

from client import ApiError, LockstepClient, Noticed, Realtime
from services.contract.ids import new_entity_id, new_event_id
from services.contract.notices import AnnouncementPosted, MentionMade, encode_notice, notices_channel
from tests.stack.lockstep import Stack
from tests.stack.records import bodies_of
from tests.stack.waiting import until
from tests.system.client.people import Someone, joined, owner


class Device:
    """A connected client of somebody, on one node; `heard`: the notices that it was shown."""

    def __init__(self, client: LockstepClient) -> None:
        self.client = client
        self.heard: list[Noticed] = []

    async def listen(self) -> None:
        async for event in self.client.events():
            if isinstance(event, Noticed):
                self.heard.append(event)

    @property
    def texts(self) -> list[str]:
        return [n.notice.text for n in self.heard if isinstance(n.notice, AnnouncementPosted)]


async def at_node(stack: Stack, somebody: Someone, node: str) -> LockstepClient:
    given = await somebody.rest.realtime()
    realtime = Realtime(token=given.token, nodes=[stack.websocket_url(node)], expires_at=2e9)
    return somebody.client(realtime=realtime)


async def workspace_of(somebody: Someone) -> str:
    return (await somebody.rest.me()).workspace.id


async def tell(stack: Stack, sender: Someone, workspace: str, body: bytes, node: str = "node-1") -> int:
    """Append a notice as web_app does; gives its number."""
    async with httpx.AsyncClient(timeout=30) as http:
        content = msgspec.json.encode(
            {
                "channel": notices_channel(workspace),
                "sender": sender.user_id,
                "id": new_event_id(),
                "event": msgspec.Raw(body),
            }
        )
        answer = await http.post(
            f"{stack.internal_url(node)}/internal/v1/events",
            content=content,
            headers={"authorization": f"Bearer {stack.service_token}"},
        )
    assert answer.status_code == 201, answer.text
    return int(answer.json()["seq"])


async def strangers(stack: Stack, workspace: str, count: int) -> list[str]:
    """People of the workspace who never come."""
    ids = [new_entity_id("usr") for _ in range(count)]
    connection = await stack.database.connect()
    try:
        await connection.executemany(
            "insert into users (id, workspace_id, email, name, password_hash, role, version)"
            " values ($1, $2, $1 || '@example.com', 'somebody', '!', 'member', nextval('row_version'))",
            [(user_id, workspace) for user_id in ids],
        )
    finally:
        await connection.close()
    return ids


async def test_a_thousand_people_over_two_nodes_are_one_record(breakable: Stack, folder: Path) -> None:
    ada = await owner(breakable)
    ben, eve = await joined(breakable, ada, "Ben"), await joined(breakable, ada, "Eve")
    stranger = await owner(breakable)
    workspace = await workspace_of(ada)
    to = [ada.user_id, ben.user_id, *await strangers(breakable, workspace, 998)]
    people = ((ada, "node-1"), (ada, "node-2"), (ben, "node-2"), (eve, "node-1"), (stranger, "node-2"))
    async with (
        await at_node(breakable, *people[0]) as a,
        await at_node(breakable, *people[1]) as b,
        await at_node(breakable, *people[2]) as c,
        await at_node(breakable, *people[3]) as d,
        await at_node(breakable, *people[4]) as e,
    ):
        devices = [Device(client) for client in (a, b, c, d, e)]
        listening = [asyncio.create_task(device.listen()) for device in devices]
        before = await bodies_of(breakable, notices_channel(workspace))
        assert (await ada.rest.announce("Tea is at four", to)).addressed == 1000
        await until(
            lambda: all(device.texts == ["Tea is at four"] for device in devices[:3]),
            what="the addressed have heard",
        )
        assert (await ada.rest.announce("And cake")).addressed is None
        await until(lambda: all(d.texts[-1:] == ["And cake"] for d in devices[:4]), what="all have heard")
        assert [device.texts for device in devices] == [["Tea is at four", "And cake"]] * 3 + [
            ["And cake"],
            [],
        ]
        assert len({n.seq for device in devices[:3] for n in device.heard}) == 2, (
            "the same numbers everywhere"
        )
        after = await bodies_of(breakable, notices_channel(workspace))
        (first, second) = after[len(before) :]
        assert sorted(msgspec.json.decode(first)["user_ids"]) == sorted(to)
        assert b"user_ids" not in second
        for task in listening:
            task.cancel()


async def test_who_was_away_gets_all_of_it_also_what_the_nodes_have_let_go(
    breakable: Stack, folder: Path
) -> None:
    ada = await owner(breakable)
    ben = await joined(breakable, ada, "Ben")
    workspace = await workspace_of(ada)
    others = [new_entity_id("usr") for _ in range(999)]
    at_first = Device(await at_node(breakable, ben, "node-1"))
    async with at_first.client:
        await ada.rest.announce("0", [ben.user_id])
        listening = asyncio.create_task(at_first.listen())
        await until(lambda: at_first.texts == ["0"], what="the first")
        listening.cancel()
        cursor = at_first.client.notices
    assert cursor is not None
    # So large that the nodes' memory (250 kB) holds two of them; every third is not for him.
    last = 0
    for number in range(1, 10):
        people = [*others, ben.user_id] if number % 3 else others
        notice = AnnouncementPosted(text=str(number), user_ids=people)
        last = await tell(breakable, ada, workspace, encode_notice(notice))
    back = Device(await at_node(breakable, ben, "node-2"))
    back.client.begin_at(epoch=at_first.client.epoch or 0, channels=at_first.client.cursors, notices=cursor)
    async with back.client:
        listening = asyncio.create_task(back.listen())
        await until(lambda: len(back.texts) == 6, what="all are there")
        assert back.texts == ["1", "2", "4", "5", "7", "8"]
        assert back.heard[0].via == "gap", "the nodes did not hold it any more"
        last = await tell(
            breakable, ada, workspace, encode_notice(AnnouncementPosted(text="10", user_ids=[ben.user_id]))
        )
        await until(lambda: back.texts[-1] == "10", what="and so does what is new")
        assert back.heard[-1].via == "live"
        last = await tell(
            breakable, ada, workspace, encode_notice(AnnouncementPosted(text="x", user_ids=others))
        )
        # An idle client is moved on over what is not for it.
        await until(lambda: back.client.notices == last, what="a pong has moved it on")
        listening.cancel()


async def test_nobody_comes_at_the_notices_of_others_by_rest(breakable: Stack) -> None:
    ada, stranger = await owner(breakable), await owner(breakable)
    ben = await joined(breakable, ada, "Ben")
    workspace = await workspace_of(ada)
    seq = await tell(
        breakable,
        ada,
        workspace,
        encode_notice(MentionMade(channel=new_entity_id("ch"), seq=1, user_ids=[ada.user_id])),
    )
    mine = await ada.rest.notices(after=0, at_least=seq)
    assert (mine.notices[-1].seq, mine.position, mine.head) == (seq, seq, seq)
    assert b"user_ids" not in bytes(mine.notices[-1].notice)
    bens = await ben.rest.notices(after=0, at_least=seq)
    assert (bens.notices, bens.position) == ([], seq)
    others = await stranger.rest.notices(after=0)
    assert others.notices == []
    for somebody in (ada, ben, stranger):
        for ask in (somebody.rest.events, somebody.rest.messages):
            with pytest.raises(ApiError) as refused:
                await ask(notices_channel(workspace))
            assert refused.value.code in ("not_a_member", "not_found")
        with pytest.raises(ApiError):
            await somebody.rest.post_message(notices_channel(workspace), "hello")


async def test_only_admins_announce_and_only_to_their_people(breakable: Stack) -> None:
    ada, stranger = await owner(breakable), await owner(breakable)
    ben = await joined(breakable, ada, "Ben")
    for somebody, to, code in (
        (ben, None, "forbidden"),
        (ada, [stranger.user_id], "not_found"),
        (ada, [], "invalid_request"),
    ):
        with pytest.raises(ApiError) as refused:
            await somebody.rest.announce("hello", to)
        assert refused.value.code == code


async def test_who_is_mentioned_is_told_once_and_nobody_who_is_not_in_the_channel(breakable: Stack) -> None:
    """One record for all of them; told by the transaction that stores the message, so also when the persister dies."""
    ada = await owner(breakable)
    ben, eve = await joined(breakable, ada, "Ben"), await joined(breakable, ada, "Eve")
    stream = notices_channel(await workspace_of(ada))
    channel = (await ada.rest.create_channel("engine", private=True)).channel.id
    added = await ada.rest.add_members(channel, [ben.user_id])
    await breakable.told()
    text = f"<@{ben.user_id}>, have you seen this? <@{eve.user_id}> <@{ada.user_id}>"
    async with (
        await at_node(breakable, ben, "node-2") as bens,
        await at_node(breakable, eve, "node-1") as eves,
    ):
        devices = [Device(bens), Device(eves)]
        listening = [asyncio.create_task(device.listen()) for device in devices]
        before = [body for body in await bodies_of(breakable, stream) if b"mention.made" in body]
        assert before == []
        await breakable.processes["persister"].crash()
        async with ada.client() as adas:
            posted = await adas.send(channel, text, directory_at=added.directory_at)
        await breakable.start("persister")
        await until(
            lambda: any(isinstance(n.notice, MentionMade) for n in devices[0].heard), what="Ben is told"
        )
        await ada.rest.edit_message(channel, posted.seq, f"{text} Really?")
        await ada.rest.announce("the end")
        await until(lambda: all(device.texts == ["the end"] for device in devices), what="the end")
        made = [n.notice for n in devices[0].heard if isinstance(n.notice, MentionMade)]
        assert [(each.channel, each.seq) for each in made] == [(channel, posted.seq)]
        assert not any(isinstance(n.notice, MentionMade) for n in devices[1].heard)
        records = [body for body in await bodies_of(breakable, stream) if b"mention.made" in body]
        assert len(records) == 1
        assert eve.user_id.encode() not in records[0]
        for task in listening:
            task.cancel()
        await asyncio.gather(*listening, return_exceptions=True)

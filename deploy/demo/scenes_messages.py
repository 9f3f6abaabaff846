"""What the second act plays with messages. Each scene raises DemoFailed when something does not hold."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from typing import Final

from client import ChannelEvent, MessageEvent
from client.model import RawEvent
from deploy.demo.devices import Cast, Device
from deploy.demo.story import Told
from deploy.demo.waiting import check, refused, until
from services.contract.events import MessageRedacted
from services.contract.notices import MentionMade

_SOON_MS: Final = 500
_REPLAY_S: Final = 30.0


async def a_thread(cast: Cast) -> Told:
    """One reply is for the thread only, another for the channel as well."""
    anna, omar, yuki = cast.anna, cast.omar, cast.yuki
    cast.root = root = (await anna.client.send(cast.channel, "Who is *in* for lunch?")).seq
    quiet = await omar.client.send(cast.channel, "Me. Noodles?", thread=root)
    loud = await yuki.client.send(cast.channel, "Noodles, at one.", thread=root, also_to_channel=True)
    first = await cast.agreed(root, loud.seq)
    check(first.summary.replies == 2, f"{first.summary.replies} replies instead of 2")
    check(first.summary.participants == (omar.user, yuki.user), "others replied")
    for device in cast.devices:
        in_channel = {message.seq for message in device.lines[cast.channel].shown()}
        check(loud.seq in in_channel and quiet.seq not in in_channel, "the channel shows the wrong reply")
    page = await anna.rest.thread(cast.channel, root)
    check([message.seq for message in page.messages] == [quiet.seq, loud.seq], "the thread is another")
    unread = {each.root.seq: each.unread async for each in anna.rest.threads()}
    check(unread == {root: 2}, f"Anna's unread threads are {unread}")
    return Told("Omar and Yuki reply to Anna's message, Yuki to the channel too", cast.everybody)


async def an_edit(cast: Cast) -> Told:
    """Everybody sees the new text; its author what it said before; nobody else may edit it."""
    edited = await cast.anna.rest.edit_message(cast.channel, cast.root, "Who is in for *noodles*?")
    message = await cast.agreed(cast.root, edited.seq)
    check((message.text, message.edits) == ("Who is in for *noodles*?", 1), f"it reads {message.text}")
    versions = await _versions(cast, cast.root)
    check(versions == ["Who is *in* for lunch?", message.text], f"its versions are {versions}")
    await refused(cast.omar.rest.edit_message(cast.channel, cast.root, "Pizza!"), "forbidden")
    return Told("Anna edits it; Omar may not", cast.everybody)


async def two_racing_edits(cast: Cast) -> Told:
    """The later number wins, for everybody."""
    seq = (await cast.omar.client.send(cast.channel, "I am on my way")).seq
    edits = await asyncio.gather(
        cast.omar.rest.edit_message(cast.channel, seq, "I am on my way (laptop)"),
        cast.phone.rest.edit_message(cast.channel, seq, "I am on my way (phone)"),
    )
    last = max(edit.seq for edit in edits)
    winner = "laptop" if edits[0].seq == last else "phone"
    message = await cast.agreed(seq, last)
    check(message.edits == 2 and message.text.endswith(f"({winner})"), f"the {winner} was last: {message}")
    return Told(f"Omar edits on two devices at once: the {winner} wins, by number", cast.everybody)


async def racing_reactions(cast: Cast) -> Told:
    """A person has a reaction once, however often they press; adding against taking back is decided by number."""
    root = cast.root
    thumbs = [device.rest.react(cast.channel, root, "👍") for device in cast.devices for _ in range(2)]
    party = cast.omar.rest.react(cast.channel, root, "🎉")
    no_party = cast.phone.rest.unreact(cast.channel, root, "🎉")
    *others, added, removed = await asyncio.gather(*thumbs, party, no_party)
    message = await cast.agreed(root, max(each.seq for each in (*others, added, removed)))
    users = {reaction.emoji: reaction.users for reaction in message.reactions}
    three = {cast.anna.user, cast.omar.user, cast.yuki.user}
    check(len(users["👍"]) == 3 and set(users["👍"]) == three, f"👍 is of {users['👍']}")
    stays = added.seq > removed.seq
    check(("🎉" in users) == stays, f"🎉 should {'be' if stays else 'not be'} there")
    return Told(f"{len(thumbs)} thumbs of 3 people at once are 3", cast.everybody)


async def a_deletion(cast: Cast) -> Told:
    """What was deleted is in no answer any more: not in events, messages, threads, versions, or a replay."""
    secret = f"password {secrets.token_hex(8)}"
    channel, yuki = cast.channel, cast.yuki
    said = await cast.anna.client.send(channel, f"My {secret}")
    await cast.anna.rest.edit_message(channel, said.seq, f"Oh no, my {secret}!")
    await cast.omar.client.send(channel, "Delete that!", thread=said.seq)
    await cast.seen(said.seq, lambda shown: secret in shown.text and shown.summary.replies, "it was not seen")
    gone = await cast.anna.rest.delete_message(channel, said.seq)
    tombstone = await cast.agreed(said.seq, gone.seq)
    check(tombstone.deleted and not tombstone.text, f"it still stands: {tombstone}")
    check(tombstone.summary.replies == 1, "the thread went with it")
    events = [bytes(each.event) async for each in _all_events(cast, gone.seq)]
    answers = [
        await yuki.rest.messages(channel),
        await yuki.rest.thread(channel, said.seq),
        await yuki.rest.message(channel, said.seq),
        *events,
        *[each for node in cast.nodes for each in await _replayed(cast, node, said.seq, gone.seq)],
    ]
    check(not any(secret in repr(answer) for answer in answers), "the deleted text can still be read")
    await refused(cast.anna.rest.edit_message(channel, said.seq, "never mind"), "not_found", "conflict")
    await refused(_versions(cast, said.seq), "not_found")
    return Told(
        f"Anna deletes a message: no answer, none of {len(events)} events, no replay has its text",
        cast.everybody,
    )


async def a_pin(cast: Cast) -> Told:
    pinned = await cast.yuki.rest.pin(cast.channel, cast.root)
    message = await cast.agreed(cast.root, pinned.seq)
    check(message.pinned_by == cast.yuki.user, f"it is pinned by {message.pinned_by}")
    pins = [each.seq for each in (await cast.omar.rest.pins(cast.channel)).messages]
    check(pins == [cast.root], f"pinned are {pins}")
    return Told("Yuki pins Anna's message", cast.everybody)


async def mentions(cast: Cast) -> Told:
    """By name, by user group, and whoever is active here; nobody is told of a message of their own."""
    anna, omar, yuki = cast.anna, cast.omar, cast.yuki
    for device in (omar, yuki):
        head = device.lines[cast.channel].at
        await device.rest.mark_read(cast.channel, head, head=head)
    group = await anna.rest.create_group("cooks", "The cooks", user_ids=[anna.user, yuki.user])
    texts = {
        f"<@{omar.user}>, a table?": {omar.user},
        f"<!group:{group.group.id}> have the menu": {yuki.user},
        "<!here> we go": {omar.user, yuki.user},
    }
    for text, meant in texts.items():
        said = await anna.client.send(cast.channel, text, directory_at=group.directory_at)
        message = await cast.agreed(said.seq, said.seq)
        others = set(message.mentions) - {anna.user}
        check(others == meant, f"{text!r} mentions {others} instead of {meant}")

    async def counted() -> bool:
        return [await _mentions(cast, device) for device in (anna, omar, yuki)] == [0, 2, 2]

    told = (omar, cast.phone, yuki)
    await until(
        lambda: all(len(device.notices(MentionMade)) == 2 for device in told),
        "not every device of Omar and Yuki hears of two mentions",
    )
    check(not anna.notices(MentionMade), "Anna hears of mentions of her own")
    await until(counted, "Omar and Yuki are not told of two mentions each, and Anna of none,")
    return Told("Anna mentions @Omar, a group with Yuki, and <!here>: 2 each", "Omar, Yuki")


async def a_scheduled_message(cast: Cast) -> Told:
    """It comes by itself, and once."""
    text = f"Table for three, booked under {secrets.token_hex(4)}"
    due = round(time.time() * 1000) + _SOON_MS
    await cast.anna.rest.schedule(cast.channel, text, due)

    def shown() -> bool:
        lines = [device.lines[cast.channel] for device in cast.devices]
        return all(any(each.text == text for each in line.messages.values()) for line in lines)

    await until(shown, "the scheduled message did not come")
    waiting = [each.id async for each in cast.anna.rest.scheduled()]
    check(not waiting, f"{waiting} still wait")
    # Whatever else the worker had put on its way would stand before what is posted now.
    fence = await cast.anna.rest.post_message(cast.channel, "Thanks, me")
    copies = [each async for each in _all_events(cast, fence.seq) if text.encode() in bytes(each.event)]
    check(len(copies) == 1, f"it was posted {len(copies)} times")
    check(copies[0].at >= due, f"it was posted {due - copies[0].at} ms early")
    return Told(f"Anna's comes {copies[0].at - due} ms after its time, once", cast.everybody)


async def _all_events(cast: Cast, at_least: int) -> AsyncIterator[RawEvent]:
    """The channel's whole history."""
    after, more = 0, True
    while more:
        page = await cast.yuki.rest.events(cast.channel, after=after, limit=200, at_least=at_least)
        for event in page.events:
            after = event.seq
            yield event
        more = page.has_more_after


async def _replayed(cast: Cast, node: str, first: int, last: int) -> list[MessageEvent | ChannelEvent]:
    """What a device of Yuki's that was away since before `first` is shown by this node."""
    async with cast.returning(cast.yuki, node, first - 1) as client:
        shown: list[MessageEvent | ChannelEvent] = []
        async with asyncio.timeout(_REPLAY_S):
            async for event in client.events():
                if isinstance(event, MessageEvent | ChannelEvent) and event.channel == cast.channel:
                    shown.append(event)
                    if event.seq >= last:
                        break
    redacted = [
        each.seq
        for each in shown
        if isinstance(each, ChannelEvent) and isinstance(each.event, MessageRedacted)
    ]
    check(redacted[:1] == [first], f"{redacted} are replayed without their text instead of {first}")
    return shown


async def _versions(cast: Cast, seq: int) -> list[str]:
    return [each.text async for each in cast.anna.rest.versions(cast.channel, seq)]


async def _mentions(cast: Cast, device: Device) -> int:
    """How many unread mentions it shows in the channel."""
    return next(each.mentions for each in (await device.rest.sync()).channels if each.id == cast.channel)

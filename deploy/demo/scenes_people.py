"""What the second act plays with people and their devices. Each scene raises DemoFailed when something does not hold."""

from __future__ import annotations

from deploy.demo.devices import Cast, Device
from deploy.demo.story import Told
from deploy.demo.waiting import check, refused, until
from services.contract.notices import AnnouncementPosted, DirectOpened, ReadMoved


async def presence_and_typing(cast: Cast) -> Told:
    """A person is away when nobody is at any of their devices."""
    anna, omar, yuki = cast.anna, cast.omar, cast.yuki
    anna.client.watch([omar.user, yuki.user])
    await until(
        lambda: anna.presence == {omar.user: "active", yuki.user: "active"}, "Omar and Yuki are not there"
    )
    for device in (omar, cast.phone):
        device.client.set_active(False)
    await until(lambda: anna.presence[omar.user] == "away", "Omar is not seen to be away")
    cast.phone.client.set_active(True)
    await until(lambda: anna.presence[omar.user] == "active", "Omar is not seen to be back")

    def is_seen_typing() -> bool:
        yuki.client.typing(cast.channel)  # who types says so again and again: a word of it may be dropped
        return any(yuki.user in each.users for each in anna.typing if each.channel == cast.channel)

    await until(is_seen_typing, "Yuki is not seen to type")
    return Told("Omar leaves both devices and comes back to one; Yuki types", "Anna")


async def a_direct_message(cast: Cast) -> Told:
    """Who it is for is told that it was opened; nobody else learns of it."""
    anna, omar, yuki = cast.anna, cast.omar, cast.yuki
    channel = (await anna.client.direct(yuki.user)).channel.id
    said = await anna.client.send(channel, "A cake for Omar?")
    await until(lambda: yuki.notices(DirectOpened), "Yuki is not told of the direct channel")
    (told,) = yuki.notices(DirectOpened)
    check(told.notice == DirectOpened(channel=channel), f"Yuki was told {told.notice}")
    await until(lambda: yuki.message(channel, said.seq), "Yuki does not see the message")
    omars = await omar.rest.notices(after=0, at_least=told.seq)
    check(b"direct.opened" not in b"".join(bytes(each.notice) for each in omars.notices), "Omar was told")
    check(channel not in omar.lines and channel not in cast.phone.lines, "Omar is shown it")
    await refused(omar.rest.events(channel), "not_found", "not_a_member")
    return Told("Anna opens a direct channel with Yuki and writes", "Yuki alone")


async def an_announcement(cast: Cast) -> Told:
    """One record for everybody: the same number on every device."""
    await refused(cast.omar.rest.announce("Free beer"), "forbidden")
    texts = ["The kitchen closes at three", "It opens again at four"]
    for text in texts:
        await cast.anna.rest.announce(text)

    def heard(device: Device) -> list[tuple[int, str]]:
        told = [(each.seq, each.notice) for each in device.notices(AnnouncementPosted)]
        return [(seq, notice.text) for seq, notice in told if isinstance(notice, AnnouncementPosted)]

    # A second copy of the first would have come before the last.
    await until(
        lambda: all(heard(device)[-1:] and heard(device)[-1][1] == texts[1] for device in cast.devices),
        "not everybody heard the announcements",
    )
    shown = [heard(device) for device in cast.devices]
    check(all(each == shown[0] for each in shown), f"it was heard differently: {shown}")
    check([text for _, text in shown[0]] == texts, f"it was heard as {shown[0]}")
    return Told(f"Anna announces something: one record, number {shown[0][0][0]}", cast.everybody)


async def reading_on_two_devices(cast: Cast) -> Told:
    """What is read on one device is read on the other, and *mark as unread* goes back on both."""
    omar, phone = cast.omar, cast.phone
    head = omar.lines[cast.channel].at
    marked = await omar.rest.mark_read(cast.channel, head, head=head)
    await _told(cast, phone, marked.seq)
    check(await _unread(cast, phone, marked.notices) == 0, "the phone shows something unread")
    first, *_, last = [
        (await cast.yuki.client.send(cast.channel, text)).seq for text in ("Cake?", "Cake!", "Cake.")
    ]

    async def counted() -> bool:
        return [await _unread(cast, device) for device in (omar, phone)] == [3, 3]

    await until(counted, "Omar's devices do not show 3 unread messages")
    read = await phone.rest.mark_read(cast.channel, last, head=last)
    await _told(cast, omar, last)
    check(await _unread(cast, omar, read.notices) == 0, "the laptop still shows something unread")
    back = await omar.rest.mark_unread(cast.channel, first + 1, head=last)
    await _told(cast, phone, back.seq)
    check(await _unread(cast, phone, back.notices) == 2, "the phone does not show 2 unread messages")
    return Told("Omar reads on the phone, 3 to 0; then marks 2 as unread", "Omar's other device")


async def a_guest(cast: Cast) -> Told:
    """Sees the channel that he was added to, who is in it, and nothing else."""
    anna = cast.anna
    visitors = (await anna.client.create_channel("visitors")).channel.id
    guest = await cast.invited("Ivan", "guest", [visitors])
    elsewhere = await anna.client.send(cast.channel, "Ivan is here")
    said = await anna.client.send(visitors, "Welcome, Ivan!")
    await until(lambda: guest.message(visitors, said.seq), "the guest does not see his channel")
    await cast.seen(elsewhere.seq, lambda shown: shown.text, "not seen")
    check(set(guest.lines) == {visitors}, f"the guest is shown {set(guest.lines)}")
    channels = {each.id async for each in guest.rest.channels()}
    check(channels == {visitors}, f"the guest's channels are {channels}")
    people = {each.id async for each in guest.rest.users()}
    check(people == {anna.user, guest.user}, f"the guest sees {len(people)} people")
    await refused(guest.rest.channel(cast.channel), "not_found")
    await refused(guest.rest.events(cast.channel), "not_found", "not_a_member")
    await refused(guest.rest.user(cast.omar.user), "not_found")
    await refused(guest.rest.join(cast.channel), "not_found")
    return Told("Anna welcomes Ivan, a guest, in #visitors; all else is hidden from him", "Ivan")


async def signing_out_from_afar(cast: Cast) -> Told:
    """Its connection ends, its tokens are worthless, and the other device goes on."""
    omar, phone = cast.omar, cast.phone
    lost = [each.id for each in (await omar.rest.live_sessions()).sessions if each.device == "phone"]
    check(len(lost) == 1, f"{len(lost)} of Omar's sessions are the phone")
    await omar.rest.revoke_session(lost[0])
    await until(lambda: phone.ended, "the phone is still connected")
    await refused(phone.rest.me(), "unauthenticated", "refresh_invalid")
    left = [each.device for each in (await omar.rest.live_sessions()).sessions]
    check(left == ["laptop"], f"Omar is still signed in at {left}")
    cast.devices.remove(phone)
    said = await omar.client.send(cast.channel, "My phone was stolen, I am still here")
    await cast.agreed(said.seq, said.seq)
    return Told("Omar signs his phone out from the laptop, which goes on", "Omar's phone")


async def _told(cast: Cast, device: Device, seq: int) -> None:
    """Until it was told that the channel is read up to there. Raises DemoFailed."""

    def moved() -> bool:
        told = [each.notice for each in device.notices(ReadMoved)]
        last = told[-1] if told else None
        return isinstance(last, ReadMoved) and (last.channel, last.seq) == (cast.channel, seq)

    await until(moved, f"{device.name} is not told that {seq} is read")


async def _unread(cast: Cast, device: Device, notices: int | None = None) -> int:
    """What it shows as unread in the channel; `notices`: with what they said up to there."""
    start = await device.rest.sync(at_least=notices)
    return next(each.unread for each in start.channels if each.id == cast.channel)

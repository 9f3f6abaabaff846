"""One example of every frame and event, as it travels: for the schemas, the AsyncAPI document and whoever writes a client."""

from __future__ import annotations

from typing import Final

import msgspec

from services.contract import events, frames, notices

ANNA: Final = "usr_0199d2a1b0c47d3e8f1a2b3c4d5e6f70"
OMAR: Final = "usr_0199d2a1b0c47d3e8f1a2b3c4d5e6f71"
CHANNEL: Final = "ch_0199d2a1c0007abc9def0123456789ab"
MESSAGE: Final = "0199d2a2-1f40-7c3a-9b1e-5a6b7c8d9e0f"
SESSION: Final = "ses_0199d2a1d0007abc9def0123456789ab"
OTHER_NODE: Final = "ws://127.0.0.1:8102/v1/websocket"
_AT: Final = 1_760_169_600_123

EVENTS: Final[tuple[events.Event, ...]] = (
    events.MessagePosted(text="Good morning 👋 صباح الخير"),
    events.MessagePosted(text="In the thread, and for all", thread=42, also_to_channel=True),
    events.MessageEdited(target=42, text="Good morning, <@usr_0199d2a1b0c47d3e8f1a2b3c4d5e6f71>"),
    events.MessageDeleted(target=43, thread=42),
    events.MessageRedacted(was="message.posted", thread=42),
    events.ReactionAdded(target=42, emoji="👍"),
    events.ReactionRemoved(target=42, emoji="👍"),
    events.MessagePinned(target=42),
    events.MessageUnpinned(target=42),
    events.ChannelCreated(kind="public", name="general"),
    events.ChannelRenamed(name="everybody"),
    events.ChannelTopicSet(topic="What we all should know"),
    events.ChannelArchived(),
    events.ChannelUnarchived(),
    events.ChannelSettingsChanged(posting="admins"),
    events.ChannelMadePrivate(),
    events.MembersAdded(user_ids=[ANNA, OMAR], version=1042),
    events.MembersRemoved(user_ids=[OMAR], version=1043),
)

NOTICES: Final[tuple[notices.Notice, ...]] = (
    notices.AnnouncementPosted(text="Tea is at four", all=True),
    notices.DirectOpened(channel=CHANNEL, user_ids=[OMAR]),
    notices.InviteAccepted(user=OMAR, user_ids=[ANNA]),
    notices.MentionMade(channel=CHANNEL, seq=42, user_ids=[ANNA]),
    notices.ReadMoved(channel=CHANNEL, seq=42, head=44, forward=True, user_ids=[ANNA]),
    notices.ThreadRead(channel=CHANNEL, root=42, seq=44, head=44, user_ids=[ANNA]),
    notices.ThreadFollowed(channel=CHANNEL, root=42, following=True, user_ids=[ANNA]),
    notices.ProfileChanged(user=OMAR, all=True),
    notices.PreferencesChanged(channel=CHANNEL, user_ids=[ANNA]),
)

CLIENT_FRAMES: Final[tuple[frames.ClientFrame, ...]] = (
    frames.Connect(
        token="eyJhbGciOiJFZERTQSIsImtpZCI6Ii4uLiJ9.eyJhdWQiOiJyZWFsdGltZSJ9.c2lnbmF0dXJl",  # noqa: S106 - an example
        resume=frames.Resume(epoch=1, channels={CHANNEL: 41}, notices=310),
        client="example/1.0",
    ),
    frames.Send(channel=CHANNEL, id=MESSAGE, text="Good morning 👋 صباح الخير"),
    frames.Ping(),
    frames.Watch(users=[ANNA, OMAR]),
    frames.Activity(active=False),
    frames.SetAway(away=True),
    frames.Typing(channel=CHANNEL, thread=42),
)

SERVER_FRAMES: Final[tuple[frames.ServerFrame, ...]] = (
    frames.Welcome(
        session=SESSION,
        user=ANNA,
        epoch=1,
        server_time=_AT,
        heartbeat_ms=25_000,
        first_heartbeat_ms=11_340,
        heads={CHANNEL: 44},
        nodes=[OTHER_NODE],
        notices=317,
    ),
    frames.EventFrame(
        channel=CHANNEL,
        seq=42,
        id=MESSAGE,
        sender=ANNA,
        at=_AT,
        event=msgspec.Raw(events.encode_event(EVENTS[0])),
    ),
    frames.NoticeFrame(
        seq=312,
        id=MESSAGE,
        sender=OMAR,
        at=_AT,
        notice=msgspec.Raw(msgspec.json.encode(notices.MentionMade(channel=CHANNEL, seq=42))),
    ),
    frames.Ack(channel=CHANNEL, id=MESSAGE, seq=42, at=_AT),
    frames.Refused(
        channel=CHANNEL,
        id=MESSAGE,
        code="slow_down",
        message="Too many messages.",
        retry_after_ms=1_500,
    ),
    frames.Opened(channel=CHANNEL, head=44),
    frames.Closed(channel=CHANNEL, last_seq=57),
    frames.Gap(channel=CHANNEL, from_=45, to=5_320),
    frames.NoticesGap(from_=311, to=316),
    frames.PresenceFrame(users={ANNA: "active", OMAR: "away"}),
    frames.TypingFrame(channel=CHANNEL, users=[OMAR], thread=42),
    frames.Reset(epoch=2),
    frames.Reconnect(after_ms=2_700, nodes=[OTHER_NODE]),
    frames.Error(code="bad_frame", message="The frame is not JSON."),
    frames.Pong(notices=317),
)

"""Frames as bytes, ready for the wire: made once, written to any number of connections."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from channel_server.websocket.framing import prepare_text, text_head
from services.contract.frames import Closed, EventFrame, Gap, NoticesGap, Opened, ServerFrame, encode_frame

_event_decoder = msgspec.json.Decoder(EventFrame)


def prepared(frame: ServerFrame) -> bytes:
    """One frame, ready for the wire."""
    return prepare_text(encode_frame(frame))


def event_frame(
    channel: str, seq: int, id: str, sender: str, at: int, event: bytes, mentions: Sequence[str] = ()
) -> bytes:
    """An `EventFrame`, ready for the wire. `event`: the JSON of `contract.events.shown_body`.

    Written out by hand because it is made for every event of the cell: ids are plain ASCII (the envelope's
    expression and the decoder of mentions saw to that), numbers are numbers, and the body is JSON already.
    """
    before = f'{{"type":"event","channel":"{channel}","seq":{seq},"id":"{id}","sender":"{sender}","at":{at},"event":'
    head = before.encode("ascii")
    tail = f""","mentions":["{'","'.join(mentions)}"]}}""".encode("ascii") if mentions else b"}"
    return b"".join((text_head(len(head) + len(event) + len(tail)), head, event, tail))


def read_event_frame(frame: bytes) -> EventFrame:
    """What `event_frame` made."""
    length = frame[1]
    return _event_decoder.decode(frame[2 if length < 126 else 4 if length == 126 else 10 :])


def event_at(frame: bytes) -> int:
    """The `at` of a frame that `event_frame` made."""
    return read_event_frame(frame).at


def opened_frame(channel: str, head: int) -> bytes:
    return prepared(Opened(channel=channel, head=head))


def closed_frame(channel: str, last_seq: int) -> bytes:
    return prepared(Closed(channel=channel, last_seq=last_seq))


def gap_frame(channel: str, first: int, last: int) -> bytes:
    return prepared(Gap(channel=channel, from_=first, to=last))


def notice_frame(seq: int, id: str, sender: str, at: int, notice: bytes) -> bytes:
    """A `NoticeFrame`, ready for the wire, by hand for the same reasons. `notice`: `contract.notices.Addressed.body`."""
    head = f'{{"type":"notice","seq":{seq},"id":"{id}","sender":"{sender}","at":{at},"notice":'
    return prepare_text(b"%b%b}" % (head.encode("ascii"), notice))


def notices_gap_frame(first: int, last: int) -> bytes:
    return prepared(NoticesGap(from_=first, to=last))


def pong_frame(notices: int) -> bytes:
    """`notices`: the client has been shown its notices up to here."""
    return prepare_text(b'{"type":"pong","notices":%d}' % notices)

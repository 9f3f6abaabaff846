"""The WebSocket protocol: one JSON object a text message, told apart by `type`.

The client speaks first (`connect`); the server answers `welcome`, or an `error` and a close. Times are Unix
milliseconds, durations milliseconds. Fields may be added: both sides ignore fields they do not know, and a
client ignores frames whose `type` it does not know.
"""

from __future__ import annotations

from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta

from services.contract.events import ChannelId, EventId, MessageSeq, Text, UserId
from services.contract.presence import PresenceState

MAX_MESSAGE_BYTES: Final = 64 * 1024
"""The largest message a client may send."""

MAX_RESUME_CHANNELS: Final = 1_000
"""How many channels `resume` may name: so many always fit into a message, whatever the token and the numbers."""

MAX_WATCHED: Final = 500
"""How many people `watch` may name."""

Seq = Annotated[int, Meta(ge=0, le=(1 << 53) - 1)]
Token = Annotated[str, Meta(min_length=1, max_length=4096)]
DirectoryAt = Annotated[str, Meta(min_length=1, max_length=200)]


class _Frame(msgspec.Struct, frozen=True, tag_field="type", omit_defaults=True, kw_only=True):
    pass


# --- client to server ---------------------------------------------------------------------------------------


class Resume(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a client's view stands: the last seq it has of each channel, in this epoch of the log.

    `notices`: up to where it has been shown its notices; left out, it is shown those from now on.
    """

    epoch: Seq
    channels: dict[ChannelId, Seq]
    notices: Seq | None = None


class Connect(_Frame, frozen=True, tag="connect"):
    """The first frame, within ten seconds. `token` is the realtime token of `POST /v1/realtime`."""

    token: Token
    resume: Resume | None = None
    client: Annotated[str, Meta(max_length=100)] = ""


class Send(_Frame, frozen=True, tag="send"):
    """Post a message. `id` is a UUIDv7 chosen by the client and the same on every retry.

    `thread` and `also_to_channel` as in `message.posted`: the seq of the message that this one replies to, and whether
    the reply is shown in the channel as well. `directory_at`, from a REST reply, makes the node wait until it has seen that change.
    """

    channel: ChannelId
    id: EventId
    text: Text
    thread: MessageSeq | None = None
    also_to_channel: bool = False
    directory_at: DirectoryAt | None = None


class Ping(_Frame, frozen=True, tag="ping"):
    """The heartbeat, at the pace that `welcome` dictates; answered by `pong`."""


class Watch(_Frame, frozen=True, tag="watch"):
    """Whose presence you want to be shown, instead of those named before; answered by `presence`, then by changes."""

    users: Annotated[list[UserId], Meta(max_length=MAX_WATCHED)]


class Activity(_Frame, frozen=True, tag="activity"):
    """Whether the person is at this device. A device that says nothing else for half an hour is taken for idle."""

    active: bool


class SetAway(_Frame, frozen=True, tag="away"):
    """The person is away on all devices, until they say otherwise."""

    away: bool


class Typing(_Frame, frozen=True, tag="typing"):
    """The person types. Say it again every few seconds as long as they do; it is forgotten after five."""

    channel: ChannelId
    thread: Seq | None = None


ClientFrame = Connect | Send | Ping | Watch | Activity | SetAway | Typing


# --- server to client ---------------------------------------------------------------------------------------


class Welcome(_Frame, frozen=True, tag="welcome"):
    """The connection is up.

    heads           of every channel of yours whose head differs from what `resume` named, or that it did not
                    name: its head. A channel that `resume` did not name is open from this head on, as if
                    `opened` had come; one that it named is replayed up to here, or a `gap` says what is lacking
    heartbeat_ms    send `ping` this often; `first_heartbeat_ms` the first time (spread by jitter)
    nodes           WebSocket addresses of the other nodes, for reconnecting
    notices         where the stream of notices stands: your position if `resume` named none
    """

    session: str
    user: str
    epoch: int
    server_time: int
    heartbeat_ms: int
    first_heartbeat_ms: int
    heads: dict[str, int]
    nodes: list[str]
    notices: int | None = None


class EventFrame(_Frame, frozen=True, tag="event"):
    """One event of a channel. `at` is the log's clock when it was numbered; `event` its body, told apart by `type`.

    `mentions`: the people behind `<!here>` and groups, found when it was posted; nobody is left out.
    """

    channel: str
    seq: int
    id: str
    sender: str
    at: int
    event: msgspec.Raw
    mentions: list[str] = []


class Ack(_Frame, frozen=True, tag="ack"):
    """The message is durable in the log with this number, for ever. `duplicate`: an earlier copy was."""

    channel: str
    id: str
    seq: int
    at: int
    duplicate: bool = False


class Refused(_Frame, frozen=True, tag="refused"):
    """The send with this id was refused; `code` is one of `codes.ERRORS`.

    expired: `head` and `now` of the log. future: `now`. slow_down, not_yet, log_unavailable: `retry_after_ms`.
    """

    channel: str
    id: str
    code: str
    message: str
    head: int | None = None
    now: int | None = None
    retry_after_ms: int | None = None


class Opened(_Frame, frozen=True, tag="opened"):
    """You are a member from here on: history up to `head` by REST, live from `head` + 1."""

    channel: str
    head: int


class Closed(_Frame, frozen=True, tag="closed"):
    """You see nothing of this channel after `last_seq` (0: nothing at all)."""

    channel: str
    last_seq: int


class Gap(_Frame, frozen=True, tag="gap"):
    """The node no longer holds `from` .. `to` (both included): fetch them by REST. The stream goes on at `to` + 1."""

    channel: str
    from_: int = msgspec.field(name="from")
    to: int


class NoticeFrame(_Frame, frozen=True, tag="notice"):
    """Something addressed to you, on all your devices. `seq` grows; the numbers between are notices of others.

    `notice` is its body, told apart by `type` (contract.notices), without whom it addresses.
    """

    seq: int
    id: str
    sender: str
    at: int
    notice: msgspec.Raw


class NoticesGap(_Frame, frozen=True, tag="notices_gap"):
    """The node no longer holds the notices `from` .. `to` (both included), yours among them if there are any: fetch
    them by REST. The stream goes on behind `to`."""

    from_: int = msgspec.field(name="from")
    to: int


class PresenceFrame(_Frame, frozen=True, tag="presence"):
    """How people whom you watch are now: `active`, `away` or `offline`. At most one a second; the newest counts."""

    users: dict[str, PresenceState]


class TypingFrame(_Frame, frozen=True, tag="typing"):
    """Who types in a channel, or in the thread of the message `thread`; at most one a second for each of them.

    `users`: 20 at most, you among them. Forget them five seconds later, or when they post.
    """

    channel: str
    users: list[str]
    thread: int | None = None


class Reset(_Frame, frozen=True, tag="reset"):
    """Your positions are of another epoch and mean nothing here: forget them and refetch by REST."""

    epoch: int


class Reconnect(_Frame, frozen=True, tag="reconnect"):
    """The node is about to leave: connect to one of `nodes` within `after_ms`, and resume."""

    after_ms: int
    nodes: list[str]


class Error(_Frame, frozen=True, tag="error"):
    """A frame could not be taken, and there is no send to refuse. `code` is one of `codes.ERRORS`."""

    code: str
    message: str
    retry_after_ms: int | None = None


class Pong(_Frame, frozen=True, tag="pong"):
    """The answer to `ping`. `notices`: you have been shown every notice of yours up to this number."""

    notices: int | None = None


ServerFrame = (
    Welcome
    | EventFrame
    | NoticeFrame
    | Ack
    | Refused
    | Opened
    | Closed
    | Gap
    | NoticesGap
    | PresenceFrame
    | TypingFrame
    | Reset
    | Reconnect
    | Error
    | Pong
)

F = TypeVar("F")

_encoder = msgspec.json.Encoder()
_client_decoder: msgspec.json.Decoder[ClientFrame] = msgspec.json.Decoder(ClientFrame)
_server_decoder: msgspec.json.Decoder[ServerFrame] = msgspec.json.Decoder(ServerFrame)


def encode_frame(frame: ClientFrame | ServerFrame) -> bytes:
    """The text message's UTF-8."""
    return _encoder.encode(frame)


def decode_client_frame(message: bytes | str) -> ClientFrame:
    """Raises msgspec.DecodeError (its ValidationError names the field) for what is no frame of a client."""
    return _decode(_client_decoder, message)


def decode_server_frame(message: bytes | str) -> ServerFrame:
    """Raises msgspec.DecodeError for what is no frame of a server."""
    return _decode(_server_decoder, message)


def _decode(decoder: msgspec.json.Decoder[F], message: bytes | str) -> F:
    """One kind of error for everything a peer can do wrong."""
    try:
        return decoder.decode(message)
    except UnicodeError as error:
        raise msgspec.DecodeError("not UTF-8") from error
    except RecursionError as error:
        raise msgspec.DecodeError("nested too deep") from error

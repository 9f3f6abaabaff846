"""Messages and history as they travel. History is written by msgspec (the log's own bytes go through unread); the
models here describe it.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from pydantic import Field, model_validator

from services.contract.events import MAX_TEXT
from web_app.fields import STORABLE, Body, EventId, Reply, Seq, examples
from web_app.messages.states import PLAIN, REPLIED, HistoryMessage, WrittenMessage
from web_app.paging import DEFAULT_LIMIT, MAX_LIMIT

_CHANNEL: Final = "ch_0193a1b2c3d47e5f8a9b0c1d2e3f4a5b"
_ID: Final = "0193a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"
_USER: Final = "usr_0193a1b2c3d47e5f8a9b0c1d2e3f4a5b"
_AT: Final = 1_767_605_400_000
_PAGE: Final[dict[str, Any]] = {"epoch": 1, "channel": _CHANNEL, "head": 17}


MessageText = Annotated[str, Field(min_length=1, max_length=MAX_TEXT, pattern=STORABLE)]


class NewMessage(Body):
    """`client_msg_id`: a UUIDv7, the same on every retry; the header Idempotency-Key is the same thing."""

    model_config = examples(
        {"text": "The engine might compose elaborate pieces of music.", "client_msg_id": _ID}
    )

    text: MessageText
    thread: Annotated[
        Seq | None, Field(ge=1, description="The seq of the message that this one replies to.")
    ] = None
    also_to_channel: Annotated[bool, Field(description="Show a reply in the channel as well.")] = False
    client_msg_id: EventId | None = None

    @model_validator(mode="after")
    def _only_replies(self) -> NewMessage:
        if self.also_to_channel and self.thread is None:
            raise ValueError("`also_to_channel` is for replies: name their `thread`")
        return self


class EditedMessage(Body):
    """`client_msg_id`: as when posting."""

    model_config = examples({"text": "The engine will compose elaborate pieces of music."})

    text: MessageText
    client_msg_id: EventId | None = None


class MessageAccepted(Reply):
    """Durable in the log with this number, for ever. `at`: the log's clock then, in Unix milliseconds."""

    model_config = examples(
        {"epoch": 1, "channel": _CHANNEL, "id": _ID, "seq": 17, "at": _AT, "duplicate": False}
    )

    epoch: int
    channel: str
    id: str
    seq: int
    at: int
    duplicate: bool = Field(description="An earlier copy with this id was numbered; this is its number.")


class HistoryQuery(Body):
    """At most one of `after`, `before` and `around`; with none of them: the newest."""

    after: Annotated[Seq | None, Field(description="Those with a greater seq, beginning with the least.")] = (
        None
    )
    before: Annotated[Seq | None, Field(description="Those with a lesser seq, ending with the greatest.")] = (
        None
    )
    around: Annotated[
        Seq | None, Field(description="Half of them before this seq, the others from it on.")
    ] = None
    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT, description="How many at most.")] = DEFAULT_LIMIT
    at_least: Annotated[
        Seq | None, Field(description="Wait, for five seconds at most, until history reaches this seq.")
    ] = None

    @model_validator(mode="after")
    def _one_direction(self) -> HistoryQuery:
        if sum(each is not None for each in (self.after, self.before, self.around)) > 1:
            raise ValueError("give at most one of `after`, `before` and `around`")
        return self


class MessagesQuery(HistoryQuery):
    top_level: Annotated[
        bool, Field(description="Only what the channel itself shows: no replies in threads, no tombstones.")
    ] = False
    structured: Annotated[bool, Field(description="Give each text's tree as `content`.")] = False


class HistoryEvent(Reply):
    """One numbered event. `event` is told apart by its `type`; there may be types that you do not know."""

    seq: int
    id: str
    sender: str
    at: int = Field(description="The log's clock when it was numbered, in Unix milliseconds.")
    event: dict[str, Any]
    mentions: list[str] = Field([], description="The people behind `<!here>` and groups; left out if none.")


class _Page(Reply):
    epoch: int = Field(description="The epoch of the log that `head` belongs to.")
    channel: str
    head: int = Field(description="The seq of the channel's last stored event.")
    has_more_before: bool
    has_more_after: bool


class EventPage(_Page):
    """Ascending by seq."""

    model_config = examples(
        {
            **_PAGE,
            "events": [
                {
                    "seq": 17,
                    "id": _ID,
                    "sender": _USER,
                    "at": _AT,
                    "event": {"type": "message.posted", "text": "The engine might compose music."},
                }
            ],
            "has_more_before": True,
            "has_more_after": False,
        }
    )

    events: list[HistoryEvent]


class MessagePage(_Page):
    """Ascending by seq."""

    model_config = examples(
        {
            **_PAGE,
            "messages": [PLAIN, {**REPLIED, "seq": 18}],
            "has_more_before": True,
            "has_more_after": False,
        }
    )

    messages: list[HistoryMessage]


class WrittenEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    seq: int
    id: str
    sender: str
    at: int
    event: msgspec.Raw
    mentions: list[str] = []


class WrittenEventPage(msgspec.Struct, frozen=True):
    epoch: int
    channel: str
    head: int
    events: list[WrittenEvent]
    has_more_before: bool
    has_more_after: bool


class WrittenMessagePage(msgspec.Struct, frozen=True):
    epoch: int
    channel: str
    head: int
    messages: list[WrittenMessage]
    has_more_before: bool
    has_more_after: bool


class OneMessage(Reply):
    """`permalink`: what `GET /v1/permalinks/{permalink}` finds it by."""

    model_config = examples(
        {
            "epoch": 1,
            "channel": _CHANNEL,
            "permalink": f"p_{_CHANNEL[3:]}_17",
            "message": PLAIN,
        }
    )

    epoch: int
    channel: str
    permalink: str
    message: HistoryMessage


class WrittenOneMessage(msgspec.Struct, frozen=True):
    epoch: int
    channel: str
    permalink: str
    message: WrittenMessage


class MessageVersion(Reply):
    """What a message said from `at` on. `seq`: the number of the event that said so."""

    model_config = examples({"seq": 17, "at": _AT, "text": "The engine might compose music."})

    seq: int
    at: int
    text: str


class VersionsQuery(Body):
    after: Annotated[Seq, Field(description="Those said by events with a greater seq.")] = 0
    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT, description="How many at most.")] = DEFAULT_LIMIT


class VersionPage(Reply):
    """What the message has said, the first text first."""

    model_config = examples(
        {
            "channel": _CHANNEL,
            "seq": 17,
            "versions": [{"seq": 17, "at": _AT, "text": "The engine might compose music."}],
            "has_more_after": False,
        }
    )

    channel: str
    seq: int
    versions: list[MessageVersion]
    has_more_after: bool


class PinsQuery(Body):
    before: Annotated[Seq | None, Field(description="Those with a lesser seq.")] = None
    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT, description="How many at most.")] = DEFAULT_LIMIT

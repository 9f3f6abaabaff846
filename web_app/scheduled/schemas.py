"""Scheduled messages as they travel."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import Field, model_validator

from web_app.fields import MAX_SEQ, Body, Reply, Seq, examples
from web_app.messages.schemas import MessageText

_AT: Final = 1_767_605_400_000
_EXAMPLE: Final[dict[str, Any]] = {
    "id": "sch_0193a1b2c3d47e5f8a9b0c1d2e3f4a5b",
    "channel": "ch_0193a1b2c3d47e5f8a9b0c1d2e3f4a5b",
    "text": "Happy birthday!",
    "thread": None,
    "also_to_channel": False,
    "send_at": _AT,
    "failed": None,
}

SendAt = Annotated[int, Field(ge=0, le=MAX_SEQ, description="When to post it, in Unix milliseconds.")]


class NewScheduled(Body):
    """A message and when to post it: at most a year ahead. What has passed already is posted at once."""

    model_config = examples({"text": "Happy birthday!", "send_at": _AT})

    text: MessageText
    send_at: SendAt
    thread: Annotated[
        Seq | None, Field(ge=1, description="The seq of the message that this one replies to.")
    ] = None
    also_to_channel: Annotated[bool, Field(description="Show a reply in the channel as well.")] = False

    @model_validator(mode="after")
    def _only_replies(self) -> NewScheduled:
        if self.also_to_channel and self.thread is None:
            raise ValueError("`also_to_channel` is for replies: name their `thread`")
        return self


class ScheduledChange(Body):
    """What is left out stays. One that has failed waits again."""

    model_config = examples({"send_at": _AT + 3_600_000})

    text: MessageText | None = None
    send_at: SendAt | None = None

    @model_validator(mode="after")
    def _something(self) -> ScheduledChange:
        if self.text is None and self.send_at is None:
            raise ValueError("give `text`, `send_at` or both")
        return self


class Scheduled(Reply):
    """`failed`: the code of the error that kept it from being posted; null while it waits. Once posted it is gone."""

    model_config = examples(_EXAMPLE)

    id: str
    channel: str
    text: str
    thread: int | None = None
    also_to_channel: bool = False
    send_at: int
    failed: str | None = None

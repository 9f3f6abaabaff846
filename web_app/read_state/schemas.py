"""Markers as they travel."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StrictBool

from web_app.fields import Body, Reply, Seq, examples


class ReadTo(Body):
    """`head`: the last number of the channel that you have been shown, if it is greater."""

    model_config = examples({"seq": 42, "head": 44})

    seq: Annotated[Seq, Field(strict=True, description="You have read everything up to this number.")]
    head: Annotated[Seq, Field(strict=True)] = 0


class UnreadFrom(Body):
    """`head` as in reading."""

    model_config = examples({"seq": 42, "head": 44})

    seq: Annotated[
        int,
        Field(strict=True, ge=1, le=(1 << 53) - 1, description="This message and what follows is unread."),
    ]
    head: Annotated[Seq, Field(strict=True)] = 0


class Following(Body):
    model_config = examples({"following": False})

    following: StrictBool


class Marker(Reply):
    """`seq`: what comes after it is unread. `notices`: hand it to `GET /v1/me/sync` as `at_least` to see it there."""

    model_config = examples({"seq": 42, "head": 44, "notices": 312})

    seq: int
    head: int
    notices: int | None = Field(
        description="The number of the notice that says so; null if nothing has changed."
    )


class Followed(Reply):
    """`notices` as in markers."""

    model_config = examples({"following": False, "notices": 313})

    following: bool
    notices: int

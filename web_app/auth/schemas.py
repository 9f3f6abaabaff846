"""Log-ins, tokens and sessions as they travel."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Final

from pydantic import Field

from web_app.fields import STORABLE, Body, Device, GivenPassword, OpaqueToken, Password, Reply, examples
from web_app.users.schemas import USER_EXAMPLE, User
from web_app.workspaces.schemas import WORKSPACE_EXAMPLE, Workspace

TOKENS_EXAMPLE: Final[dict[str, Any]] = {
    "access_token": "eyJhbGciOiJFZERTQSIsImtpZCI6ImtleS0xIn0.eyJpc3MiOiJsb2Nrc3RlcCJ9.c2ln",
    "refresh_token": "9nG0Jq1Vt8Wb7Yc6Xd5Ze4Af3Bg2Ch1Di0Ej9Fk8Gl7",
    "expires_in": 900,
    "session_id": "ses_0193a1b2c3d47e5f8a9b0c1d2e3f4a5b",
}


class Tokens(Reply):
    """`expires_in`: seconds that the access token is good for. The refresh token is good for one use."""

    model_config = examples(TOKENS_EXAMPLE)

    access_token: str
    refresh_token: str
    expires_in: int
    session_id: str


class LogIn(Body):
    model_config = examples(
        {
            "workspace_slug": "acme",
            "email": "ada@example.com",
            "password": "analytical engine no. 1",
            "device": "laptop",
        }
    )

    # No more is asked of these than of any text: what is not an account's is simply wrong.
    workspace_slug: Annotated[str, Field(min_length=1, max_length=100, pattern=STORABLE)]
    email: Annotated[str, Field(min_length=1, max_length=300, pattern=STORABLE)]
    password: GivenPassword
    device: Device = ""


class LoggedIn(Reply):
    model_config = examples({"user": USER_EXAMPLE, "workspace": WORKSPACE_EXAMPLE, "tokens": TOKENS_EXAMPLE})

    user: User
    workspace: Workspace
    tokens: Tokens


class SignedUp(LoggedIn):
    """`directory_at`: where the channel servers know of everything that was made."""

    model_config = examples(
        {
            "user": USER_EXAMPLE,
            "workspace": WORKSPACE_EXAMPLE,
            "tokens": TOKENS_EXAMPLE,
            "directory_at": "user:usr_0193a1b2c3d47e5f8a9b0c1d2e3f4a5b@41",
        }
    )

    directory_at: str


class Refresh(Body):
    model_config = examples({"refresh_token": TOKENS_EXAMPLE["refresh_token"]})

    refresh_token: OpaqueToken


class PasswordChange(Body):
    model_config = examples(
        {"current_password": "analytical engine no. 1", "new_password": "difference engine no. 2"}
    )

    current_password: GivenPassword
    new_password: Password


class SessionItem(Reply):
    """A log-in that has not ended. `current`: the one that asks."""

    model_config = examples(
        {
            "id": "ses_0193a1b2c3d47e5f8a9b0c1d2e3f4a5b",
            "device": "laptop",
            "current": True,
            "created_at": "2026-01-05T09:30:00Z",
            "last_used_at": "2026-01-05T10:00:00Z",
        }
    )

    id: str
    device: str
    current: bool
    created_at: dt.datetime
    last_used_at: dt.datetime

"""Workspaces as they travel."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

from web_app.fields import Body, Device, Email, Name, Password, Reply, Slug, examples

WORKSPACE_EXAMPLE: Final[dict[str, Any]] = {
    "id": "ws_0193a1b2c3d47e5f8a9b0c1d2e3f4a5b",
    "slug": "acme",
    "name": "Acme Corporation",
    "created_at": "2026-01-05T09:30:00Z",
}


class Workspace(Reply):
    model_config = examples(WORKSPACE_EXAMPLE)

    id: str
    slug: str
    name: str
    created_at: dt.datetime


class SignUp(Body):
    """A new workspace and its owner."""

    model_config = examples(
        {
            "workspace_slug": "acme",
            "workspace_name": "Acme Corporation",
            "name": "Ada Lovelace",
            "email": "ada@example.com",
            "password": "analytical engine no. 1",
        }
    )

    workspace_slug: Slug
    workspace_name: Name
    name: Name
    email: Email
    password: Password
    device: Device = ""

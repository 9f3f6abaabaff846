"""What ends a command: one sentence on stderr and exit code 1."""

from __future__ import annotations

from client.errors import ApiError, LockstepError, NotLoggedIn, SessionEnded, Unreachable


class CommandFailed(Exception):
    """The message is what the person is told."""


def sentence(error: LockstepError) -> str:
    """What went wrong and what to do, for a person at a terminal."""
    match error:
        case NotLoggedIn():
            return (
                "You are not logged in, or the login has ended."
                " Log in with `lockstep login`, or make a workspace with `lockstep signup`."
            )
        case Unreachable():
            return f"{error} Is Lockstep running there? `make up` starts it; LOCKSTEP_URL or --url say where it is."
        case ApiError(code="database_unavailable"):
            return f"{error} Lockstep cannot reach its database for now; try again later."
        case ApiError(code="internal", request_id=str(request_id)):
            return f"{error} Report it with the request id {request_id}."
        case SessionEnded(name="session_revoked" | "unauthenticated"):
            return f"{error} (`lockstep login`)"
        case _:
            return str(error)

"""Every error code and close code, in one place, each with what the client does next.

Error codes are stable strings, the same over REST (RFC 9457 problem details, member `code`) and WebSocket
(`refused`, `error`). Close codes are RFC 6455 codes; ours lie in 4000-4999 (section 7.4.2: private use).
"""

from __future__ import annotations

from typing import Final, NamedTuple


class ErrorCode(NamedTuple):
    """`status` is the HTTP status; `retry`: the same request may succeed later, unchanged and without harm."""

    code: str
    status: int
    retry: bool
    meaning: str
    next: str


class CloseCode(NamedTuple):
    """`reconnect`: whether a client should come back by itself."""

    code: int
    name: str
    reconnect: bool
    meaning: str
    next: str


_ERRORS = (
    # what is wrong with the request itself
    ErrorCode("invalid_request", 422, False, "A field is missing, unknown or out of bounds.", "Correct the request."),
    ErrorCode("bad_frame", 400, False, "A WebSocket frame is not JSON of a known type.", "Correct the client."),
    ErrorCode("too_large", 413, False, "The request or the message is larger than allowed.", "Send less."),
    ErrorCode("not_found", 404, False, "There is no such thing, or not for you.", "Do not retry."),
    ErrorCode("method_not_allowed", 405, False, "This address has no such method.", "See the API's description."),
    ErrorCode("conflict", 409, False, "The state of the thing does not allow this.", "Refetch it and decide again."),
    ErrorCode("name_taken", 409, False, "Another one already has this name.", "Choose another name."),
    ErrorCode("archived", 409, False, "The channel is archived.", "Unarchive it first."),
    # who is asking
    ErrorCode("unauthenticated", 401, False, "No valid access token came along.", "Refresh the token or log in."),
    ErrorCode("invalid_credentials", 401, False, "Workspace, e-mail or password is wrong.", "Ask the person again."),
    ErrorCode("refresh_invalid", 401, False, "The refresh token is unknown, expired or revoked.", "Log in again."),
    ErrorCode("refresh_reused", 401, False, "The refresh token had been used before; its session is revoked.",
              "Log in again, and find out who else holds the token."),
    ErrorCode("forbidden", 403, False, "You may not do this.", "Do not retry."),
    ErrorCode("not_a_member", 403, False, "You are not in this channel, or there is no such channel.",
              "Do not retry; after being added, send again with `directory_at`."),
    # sending
    ErrorCode("expired", 409, False, "The id is too old; no copy of it will ever be numbered from here on.",
              "Read history up to `head` and look for the id; only if it is absent, send again under a new id born at `now`."),
    ErrorCode("future", 409, True, "The id was born too far ahead of the log's clock `now`.",
              "Keep the id and retry after a while; mend the clock."),
    ErrorCode("id_reused", 409, False, "Another message of yours already has this id.", "Send again under a new id."),
    ErrorCode("number_unknown", 409, False, "The message is stored, but this node no longer knows its number.",
              "Look for the id in history."),
    ErrorCode("slow_down", 429, True, "Too many requests, or the server is behind.",
              "Retry after `retry_after_ms`, unchanged."),
    ErrorCode("not_yet", 503, True, "What the request builds on (`directory_at`, `at_least`) has not arrived here yet.",
              "Retry, unchanged."),
    ErrorCode("log_unavailable", 503, True, "The log did not take the message, or its answer is not known.",
              "Retry under the same id, at any node."),
    ErrorCode("no_channel_server", 503, True, "No channel server could be reached.", "Retry under the same id."),
    ErrorCode("database_unavailable", 503, True, "The database cannot be reached.", "Retry later."),
    ErrorCode("draining", 503, True, "This node is shutting down or not ready.", "Go to another node."),
    ErrorCode("internal", 500, False, "A defect on our side.", "Report it with the request id."),
)  # fmt: skip

ERRORS: Final[dict[str, ErrorCode]] = {e.code: e for e in _ERRORS}

_CLOSES = (
    CloseCode(1000, "normal", False, "The client closed, and the server agreed.", "Nothing."),
    CloseCode(1001, "going_away", True, "The process is ending.", "Reconnect to another node and resume."),
    CloseCode(1002, "protocol_error", False, "The bytes break RFC 6455.", "Correct the client."),
    CloseCode(1003, "unsupported_data", False, "A binary message; this protocol is text.", "Correct the client."),
    CloseCode(1007, "invalid_payload", False, "A text message that is not UTF-8.", "Correct the client."),
    CloseCode(1009, "message_too_big", False, "A message above 64 KiB.", "Send less."),
    CloseCode(1011, "internal_error", True, "A defect on our side.", "Reconnect with back-off and resume."),
    CloseCode(4000, "unauthenticated", False, "The realtime token is invalid or expired.",
              "Get a new realtime token by REST, then connect."),
    CloseCode(4001, "session_revoked", False, "The session was ended by its owner or an administrator.", "Log in again."),
    CloseCode(4002, "deactivated", False, "The person's account was deactivated.", "Stop."),
    CloseCode(4003, "connect_timeout", True, "No `connect` within ten seconds.", "Reconnect with back-off."),
    CloseCode(4004, "protocol_violation", False, "A frame that is not allowed in this state, or too many bad frames.",
              "Correct the client."),
    CloseCode(4005, "heartbeat_timeout", True, "Nothing was heard for two heartbeats.", "Reconnect and resume."),
    CloseCode(4006, "too_slow", True, "The client did not read for too long.", "Reconnect with back-off and resume."),
    CloseCode(4007, "drained", True, "The node is shutting down.", "Reconnect to another node and resume."),
    CloseCode(4008, "append_failed", True, "The log failed an append with sends of this connection under way.",
              "Reconnect, resume, and send the unacknowledged again, oldest first, under the same ids."),
    CloseCode(4009, "directory_stale", True, "The node can no longer tell who may read what.",
              "Reconnect to another node and resume."),
    CloseCode(4010, "log_lost", True, "The log was wiped, truncated or rewritten; `reset` came before.",
              "Forget all positions, reconnect with back-off, refetch by REST."),
    CloseCode(4011, "flooding", True, "Far too many frames in spite of `slow_down`.", "Reconnect with back-off."),
    CloseCode(4012, "too_many_connections", True, "The node, the user or the address has too many connections.",
              "Reconnect with back-off, to another node."),
    CloseCode(4013, "not_ready", True, "The node is starting, is behind, or has not heard yet of what the token builds on.",
              "Reconnect to another node, with back-off."),
    CloseCode(4014, "workspace_deleted", False, "The workspace was deleted.", "Stop."),
)  # fmt: skip

CLOSES: Final[dict[str, CloseCode]] = {c.name: c for c in _CLOSES}
CLOSES_BY_CODE: Final[dict[int, CloseCode]] = {c.code: c for c in _CLOSES}

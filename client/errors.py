"""Every error that the client raises on purpose. Codes are those of `services.contract.codes`."""

from __future__ import annotations

from services.contract.codes import ERRORS


class LockstepError(Exception):
    """The root of all of them; the message is one sentence for a person."""


class Unreachable(LockstepError):
    """Nobody answered at the address, or the answer broke off: what was asked may or may not have happened."""


class UnexpectedReply(LockstepError):
    """What answered does not speak this API: a proxy's page, another version, a defect."""


class ClientClosed(LockstepError):
    """The client was closed; what was not acknowledged by then may or may not have been stored."""


class InvalidMessage(LockstepError, ValueError):
    """A text that no server would take: empty, too long, or with characters that cannot be stored."""


class ApiError(LockstepError):
    """A refusal over REST (problem details, RFC 9457).

    `code` is stable, `status` is the HTTP status; `retry` tells whether the same request may succeed later, without
    harm; `retry_after_ms` is the server's advice when to, if it gave one.
    """

    def __init__(
        self,
        code: str,
        status: int,
        detail: str,
        *,
        retry_after_ms: int | None = None,
        head: int | None = None,
        now: int | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(detail or code)
        self.code = code
        self.status = status
        self.detail = detail
        self.retry_after_ms = retry_after_ms
        self.head = head
        self.now = now
        self.request_id = request_id

    @property
    def retry(self) -> bool:
        known = ERRORS.get(self.code)
        return known.retry if known is not None else self.status in (429, 502, 503, 504)


class NotLoggedIn(ApiError):
    """There are no tokens, or they are no longer good for anything: the person must log in again."""


class SendRefused(LockstepError):
    """The message was refused for good. `code` says why; nothing is retried after this."""

    def __init__(self, code: str, message: str, *, channel: str, id: str) -> None:
        super().__init__(message or code)
        self.code = code
        self.channel = channel
        self.id = id


class SessionEnded(LockstepError):
    """The server ended the session with a close code after which a client must not come back by itself."""

    def __init__(self, close_code: int, name: str, message: str) -> None:
        super().__init__(message)
        self.close_code = close_code
        self.name = name

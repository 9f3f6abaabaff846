"""How often one may try: to log in to one account, to change its password, anything with a password from one address;
and how often one person may do what costs others something.
"""

from __future__ import annotations

import hashlib
import ipaddress
import time
from collections.abc import Callable
from typing import Final

from web_app.auth.windows import MovingWindow
from web_app.problems import ApiError
from web_app.settings import WebSettings


class Attempts:
    """Counts in this process's memory.

    Every attempt counts, also a successful one, against its address, and against the account from that address.
    Whoever has many addresses is stopped by the account's failures, wherever they came from; until some of those are
    an hour old nobody can log in anew, and sessions go on as they are (NIST SP 800-63B, 3.2.2, asks for such a limit).
    """

    def __init__(self, settings: WebSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_account = MovingWindow(settings.web_login_limit, clock)
        self._per_password = MovingWindow(settings.web_login_limit, clock)
        self._per_address = MovingWindow(settings.web_address_limit, clock)
        self._failures = MovingWindow(settings.web_failure_limit, clock)
        self._invites = MovingWindow(settings.web_invite_limit, clock)
        self._creations = MovingWindow(settings.web_create_limit, clock)
        self._changes = MovingWindow(settings.web_change_limit, clock)
        self._messages = MovingWindow(settings.web_message_limit, clock)
        self._markers = MovingWindow(settings.web_marker_limit, clock)

    def log_in(self, workspace_slug: str, email: str, address: str) -> None:
        """Note an attempt to log in. Raises ApiError slow_down when there were too many."""
        account = _digest(workspace_slug, email.lower(), _site(address))
        _note(self._per_account, account, _TOO_MANY)
        self.from_address(address)
        known = _digest(workspace_slug, email.lower())
        if self._failures.wait(known) > 0:
            raise _slow_down(self._failures, known, _TOO_MANY)

    def failed(self, workspace_slug: str, email: str) -> None:
        """Note that an attempt to log in was wrong, whether or not there is such an account."""
        self._failures.hit(_digest(workspace_slug, email.lower()))

    def own_password(self, user_id: str, address: str) -> None:
        """Note an attempt to say one's own password again. Raises ApiError slow_down when there were too many."""
        account = _digest(user_id, _site(address))
        _note(self._per_password, account, "Too many attempts to change this password.")
        self.from_address(address)

    def from_address(self, address: str) -> None:
        """Note an attempt at something that costs a password's work. Raises ApiError slow_down."""
        _note(self._per_address, _site(address), "Too many attempts from this address.")

    def invite(self, user_id: str) -> None:
        """Note that somebody invites. Raises ApiError slow_down."""
        _note(self._invites, user_id, "Too many invitations.")

    def create(self, user_id: str) -> None:
        """Note that somebody makes a channel or a group. Raises ApiError slow_down."""
        _note(self._creations, user_id, "Too many channels or groups in a short time.")

    def change(self, user_id: str) -> None:
        """Note that somebody changes their profile. Raises ApiError slow_down."""
        _note(self._changes, user_id, "Too many changes of your profile in a short time.")

    def message(self, user_id: str) -> None:
        """Note that somebody does something in a channel. Raises ApiError slow_down."""
        _note(self._messages, user_id, "Too many messages and changes of them in a short time.")

    def marker(self, user_id: str) -> None:
        """Note that somebody moves a read marker or changes a preference. Raises ApiError slow_down."""
        _note(self._markers, user_id, "Too many read markers moved in a short time.")


_TOO_MANY: Final = "Too many attempts to log in to this account."


def _note(window: MovingWindow, key: str, sentence: str) -> None:
    if not window.hit(key):
        raise _slow_down(window, key, sentence)


def _slow_down(window: MovingWindow, key: str, sentence: str) -> ApiError:
    return ApiError("slow_down", sentence, retry_after_ms=max(1000, int(window.wait(key) * 1000)))


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _site(address: str) -> str:
    """What one customer of a network has: an IPv4 address, or 2**64 IPv6 addresses."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(parsed) >> 64 << 64, 64)))

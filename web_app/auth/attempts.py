"""How often one may try: to log in to one account, to change its password, anything with a password from one address;
and how often one person may do what costs others something.
"""

from __future__ import annotations

import hashlib
import ipaddress
import time

from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from web_app.problems import ApiError
from web_app.settings import WebSettings


class Attempts:
    """Counts in this process's memory.

    Every attempt counts, also a successful one, against its address, and against the account from that address.
    Whoever has many addresses is stopped by the account's failures, wherever they came from; until some of those are
    an hour old nobody can log in anew, and sessions go on as they are (NIST SP 800-63B, 3.2.2, asks for such a limit).
    """

    def __init__(self, settings: WebSettings) -> None:
        self._windows = MovingWindowRateLimiter(MemoryStorage())
        self._per_account = parse(settings.web_login_limit)
        self._per_address = parse(settings.web_address_limit)
        self._failures = parse(settings.web_failure_limit)
        self._invites = parse(settings.web_invite_limit)
        self._creations = parse(settings.web_create_limit)
        self._changes = parse(settings.web_change_limit)
        self._messages = parse(settings.web_message_limit)
        self._markers = parse(settings.web_marker_limit)

    def log_in(self, workspace_slug: str, email: str, address: str) -> None:
        """Note an attempt to log in. Raises ApiError slow_down when there were too many."""
        account = _digest(workspace_slug, email.lower(), _site(address))
        self._note(self._per_account, "account", account, _TOO_MANY)
        self.from_address(address)
        known = _digest(workspace_slug, email.lower())
        if not self._windows.test(self._failures, "failures", known):
            raise self._slow_down(self._failures, "failures", known, _TOO_MANY)

    def failed(self, workspace_slug: str, email: str) -> None:
        """Note that an attempt to log in was wrong, whether or not there is such an account."""
        self._windows.hit(self._failures, "failures", _digest(workspace_slug, email.lower()))

    def own_password(self, user_id: str, address: str) -> None:
        """Note an attempt to say one's own password again. Raises ApiError slow_down when there were too many."""
        account = _digest(user_id, _site(address))
        self._note(self._per_account, "password", account, "Too many attempts to change this password.")
        self.from_address(address)

    def from_address(self, address: str) -> None:
        """Note an attempt at something that costs a password's work. Raises ApiError slow_down."""
        self._note(self._per_address, "address", _site(address), "Too many attempts from this address.")

    def invite(self, user_id: str) -> None:
        """Note that somebody invites. Raises ApiError slow_down."""
        self._note(self._invites, "invite", user_id, "Too many invitations.")

    def create(self, user_id: str) -> None:
        """Note that somebody makes a channel or a group. Raises ApiError slow_down."""
        self._note(self._creations, "create", user_id, "Too many channels or groups in a short time.")

    def change(self, user_id: str) -> None:
        """Note that somebody changes their profile. Raises ApiError slow_down."""
        self._note(self._changes, "change", user_id, "Too many changes of your profile in a short time.")

    def message(self, user_id: str) -> None:
        """Note that somebody does something in a channel. Raises ApiError slow_down."""
        self._note(
            self._messages, "message", user_id, "Too many messages and changes of them in a short time."
        )

    def marker(self, user_id: str) -> None:
        """Note that somebody moves a read marker or changes a preference. Raises ApiError slow_down."""
        self._note(self._markers, "marker", user_id, "Too many read markers moved in a short time.")

    def _note(self, limit: RateLimitItem, kind: str, key: str, sentence: str) -> None:
        if self._windows.hit(limit, kind, key):
            return
        raise self._slow_down(limit, kind, key, sentence)

    def _slow_down(self, limit: RateLimitItem, kind: str, key: str, sentence: str) -> ApiError:
        free_at = self._windows.get_window_stats(limit, kind, key).reset_time
        return ApiError("slow_down", sentence, retry_after_ms=max(1000, int((free_at - time.time()) * 1000)))


_TOO_MANY = "Too many attempts to log in to this account."


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

"""How often one may try: to log in to one account, to change its password, and anything with a password from one address."""

from __future__ import annotations

import hashlib
import time

from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from web_app.problems import ApiError
from web_app.settings import WebSettings


class Attempts:
    """Counts in this process's memory; every attempt counts, also a successful one."""

    def __init__(self, settings: WebSettings) -> None:
        self._windows = MovingWindowRateLimiter(MemoryStorage())
        self._per_account = parse(settings.web_login_limit)
        self._per_address = parse(settings.web_address_limit)

    def log_in(self, workspace_slug: str, email: str, address: str) -> None:
        """Note an attempt to log in. Raises ApiError slow_down when there were too many."""
        account = hashlib.sha256(f"{workspace_slug}\n{email.lower()}\n{address}".encode()).hexdigest()
        self._note(self._per_account, "account", account, "Too many attempts to log in to this account.")
        self.from_address(address)

    def own_password(self, user_id: str, address: str) -> None:
        """Note an attempt to say one's own password again. Raises ApiError slow_down when there were too many."""
        account = hashlib.sha256(f"{user_id}\n{address}".encode()).hexdigest()
        self._note(self._per_account, "password", account, "Too many attempts to change this password.")
        self.from_address(address)

    def from_address(self, address: str) -> None:
        """Note an attempt at something that costs a password's work. Raises ApiError slow_down."""
        self._note(self._per_address, "address", address, "Too many attempts from this address.")

    def _note(self, limit: RateLimitItem, kind: str, key: str, sentence: str) -> None:
        if self._windows.hit(limit, kind, key):
            return
        free_at = self._windows.get_window_stats(limit, kind, key).reset_time
        raise ApiError("slow_down", sentence, retry_after_ms=max(1000, int((free_at - time.time()) * 1000)))

"""Who is served how much by address: connections at once and new ones a second. Pure; the clock is passed in.

Off unless configured: behind a load balancer or a proxy every client has the proxy's address.
"""

from __future__ import annotations

import socket
from typing import NamedTuple

BURST_SECONDS = 2.0
"""New connections of so many seconds may come at once."""


class AddressLimits(NamedTuple):
    """Of one remote address (of IPv6: the /64 that a customer has to themselves); 0: no limit."""

    connections: int = 0
    """Sockets at once, those still in the handshake or closing included."""
    rate: float = 0.0
    """New sockets a second, on average; bursts of two seconds' worth, and one at least."""


NO_ADDRESS_LIMITS = AddressLimits()


class _Known:
    __slots__ = ("at", "open", "tokens")

    def __init__(self, tokens: float, at: float) -> None:
        self.open = 0
        self.tokens = tokens
        self.at = at


class Addresses:
    """Remembers an address while it has a socket open or has come a moment ago, and no longer."""

    def __init__(self, limits: AddressLimits) -> None:
        self._limits = limits
        self._burst = max(1.0, limits.rate * BURST_SECONDS)
        self._known: dict[str | bytes, _Known] = {}
        self.active = bool(limits.connections or limits.rate)
        """Whether there is any limit; without, nothing need be told here."""

    def __len__(self) -> int:
        """Addresses that are remembered."""
        return len(self._known)

    def came(self, address: str, now: float) -> str | None:
        """A socket was accepted. None: it may stay, and `left` is called once; else why not, one word for metrics."""
        key = network_of(address)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = _Known(self._burst, now)
        limits = self._limits
        if limits.connections and known.open >= limits.connections:
            return "address_connections"
        if limits.rate:
            known.tokens = min(self._burst, known.tokens + (now - known.at) * limits.rate)
            known.at = now
            if known.tokens < 1.0:
                return "address_rate"
            known.tokens -= 1.0
        known.open += 1
        return None

    def left(self, address: str) -> None:
        """A socket that was let in is closed."""
        key = network_of(address)
        known = self._known[key]
        known.open -= 1
        if not known.open and not self._limits.rate:
            del self._known[key]

    def forget(self, now: float) -> None:
        """Let go of addresses that are as good as new; call it about once a second."""
        if not self._limits.rate:
            return
        past = [
            key
            for key, known in self._known.items()
            if not known.open and known.tokens + (now - known.at) * self._limits.rate >= self._burst
        ]
        for key in past:
            del self._known[key]


def network_of(address: str) -> str | bytes:
    """What counts as one address: an IPv4 address, the /64 of an IPv6 address, IPv4 in IPv6 as the IPv4."""
    if ":" not in address:
        return address
    try:
        packed = socket.inet_pton(socket.AF_INET6, address.partition("%")[0])
    except OSError:
        return address
    if packed.startswith(b"\0" * 10 + b"\xff\xff"):
        return socket.inet_ntoa(packed[12:])
    return packed[:8]

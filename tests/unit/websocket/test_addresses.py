"""What one address may have: never more than the limits say, and nothing is remembered of who is gone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channel_server.websocket.addresses import BURST_SECONDS, Addresses, AddressLimits, network_of


@given(
    limits=st.builds(AddressLimits, st.integers(0, 3), st.sampled_from([0.0, 0.5, 2.0])),
    acts=st.lists(st.tuples(st.integers(0, 2), st.booleans(), st.floats(0, 3)), max_size=60),
)
def test_no_address_has_more_than_the_limits_say(
    limits: AddressLimits, acts: list[tuple[int, bool, float]]
) -> None:
    addresses = Addresses(limits)
    now = 100.0
    inside: dict[str, int] = {}
    let_in: dict[str, list[float]] = {}
    for number, comes, pause in acts:
        now += pause
        address = f"127.0.0.{number}"
        if not comes:
            if inside.get(address):
                inside[address] -= 1
                addresses.left(address)
            continue
        reason = addresses.came(address, now)
        if reason is None:
            inside[address] = inside.get(address, 0) + 1
            let_in.setdefault(address, []).append(now)
        elif reason == "address_connections":
            assert inside[address] == limits.connections
        else:
            assert reason == "address_rate"
            assert limits.rate
        assert not limits.connections or inside.get(address, 0) <= limits.connections
    if limits.rate:
        burst = max(1.0, limits.rate * BURST_SECONDS)
        for times in let_in.values():
            for place, first in enumerate(times):
                for count, last in enumerate(times[place:], 1):
                    assert count <= burst + (last - first) * limits.rate + 1e-6
    for address, count in inside.items():
        for _ in range(count):
            addresses.left(address)
    addresses.forget(now + 100.0)
    assert len(addresses) == 0, "nothing is kept of who is gone"


def test_one_address_does_not_use_up_anothers_share() -> None:
    addresses = Addresses(AddressLimits(connections=1))
    assert addresses.came("192.0.2.1", 0.0) is None
    assert addresses.came("192.0.2.1", 0.0) == "address_connections"
    assert addresses.came("192.0.2.2", 0.0) is None


def test_without_limits_nothing_is_watched() -> None:
    assert not Addresses(AddressLimits()).active


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("what: is this", "what: is that", False),
    ],
)
def test_what_counts_as_one_address(one: str, other: str, same: bool) -> None:
    assert (network_of(one) == network_of(other)) == same

"""What a delivery may cost: one write for each connection and batch, of bytes that all share, and next to nothing else.

These bounds are counts, not times. Raise one only together with the benchmark that shows what it buys.
"""

from __future__ import annotations

import pytest

from tests.unit.performance.counting import Channel, allocated, calls

FEW, MANY = 50, 250
EVENT_CALLS = 31


@pytest.mark.parametrize("events", [1, 7])
def test_a_batch_is_one_write_for_each_connection_of_bytes_shared_by_all(events: int) -> None:
    channel = Channel(FEW)
    channel.show(*channel.records(events))
    for link in channel.links:
        assert len(link.given) == 1
        assert link.given[0] is channel.links[0].given[0]


def test_what_is_sent_to_many_is_joined_once_also_when_they_share_several_channels() -> None:
    channel = Channel(FEW)
    world = channel.world
    second = "ch_" + "2" * 32
    for client in channel.clients:
        world.member(second, client.user)
    world.settle()
    for link in channel.links:
        link.given.clear()
    partition, records = channel.records(2)
    channel.world.node.records(partition, records)
    first, channel.channel = channel.channel, second
    channel.show(*channel.records(2))
    assert first != second
    for link in channel.links:
        assert len(link.given) == 1
        assert link.given[0] is channel.links[0].given[0]


def test_a_delivery_is_a_handful_of_calls() -> None:
    """Note it, write, look at the buffer: for one event and for a batch of ten alike."""
    for events in (1, 10):
        spent = {}
        for members in (FEW, MANY):
            channel = Channel(members)
            batch = channel.records(events)
            spent[members] = calls(lambda channel=channel, batch=batch: channel.show(*batch))  # type: ignore[misc]
        each = (spent[MANY] - spent[FEW]) / (MANY - FEW)
        # One of the four is the list that the test's own link keeps.
        assert each <= 4.5, f"{each:.1f} calls for each connection and batch of {events}"


def test_a_delivery_allocates_nothing_of_its_own() -> None:
    """Room for a pointer in the list of those to be written to; the test's links keep another."""
    most = {}
    for members in (FEW, MANY):
        channel = Channel(members)
        channel.show(*channel.records(1))
        for link in channel.links:
            link.given = [b""] * 8
            link.given.clear()
        batch = channel.records(1)
        most[members] = allocated(lambda channel=channel, batch=batch: channel.show(*batch))  # type: ignore[misc]
    each = (most[MANY] - most[FEW]) / (MANY - FEW)
    # A copied frame would be more than 500.
    assert each <= 64, f"{each:.0f} bytes for each connection"


def test_an_event_nobody_here_may_see_costs_the_same_however_many_are_connected() -> None:
    spent = set()
    for members in (FEW, MANY):
        channel = Channel(members)
        channel.channel = "ch_" + "3" * 32
        channel.show(*channel.records(1))
        batch = channel.records(1)
        spent.add(calls(lambda channel=channel, batch=batch: channel.show(*batch)))  # type: ignore[misc]
    assert len(spent) == 1, spent


def test_an_event_is_numbered_framed_and_kept_in_a_bounded_number_of_calls() -> None:
    channel = Channel(1)
    channel.show(*channel.records(100))
    spent = {}
    for events in (100, 200):
        batch = channel.records(events)
        spent[events] = calls(lambda batch=batch: channel.show(*batch))  # type: ignore[misc]
    each = (spent[200] - spent[100]) / 100
    assert each <= EVENT_CALLS, f"{each:.1f} calls for each event"

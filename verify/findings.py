"""The four properties, the rules they come down to, and what is kept of a broken one."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple


class Property(StrEnum):
    """Atomic broadcast (Hadzilacos and Toueg, 1994), per channel and epoch of the log."""

    VALIDITY = "validity"
    AGREEMENT = "agreement"
    INTEGRITY = "integrity"
    TOTAL_ORDER = "total order"


class Rule(NamedTuple):
    property: Property
    sentence: str


RULES: Final[dict[str, Rule]] = {
    # validity: what was acknowledged is everywhere
    "acked_nowhere": Rule(Property.VALIDITY, "An acknowledged message is in no source at all."),
    "acked_not_in_log": Rule(Property.VALIDITY, "An acknowledged message is not in the log."),
    "acked_not_in_database": Rule(Property.VALIDITY, "An acknowledged message is not in PostgreSQL."),
    "acked_not_in_history": Rule(Property.VALIDITY, "An acknowledged message is not in REST history."),
    "acked_not_shown": Rule(
        Property.VALIDITY, "A client that was there was not shown an acknowledged message."
    ),
    "closed_member": Rule(Property.VALIDITY, "A client's view was closed, though nobody removed the person."),
    # agreement: nobody is shown anything else
    "different_event": Rule(Property.AGREEMENT, "Two sources show different events for one number."),
    "redacted_undeleted": Rule(
        Property.AGREEMENT, "A message is shown as redacted, and no event of the log deletes it."
    ),
    "ack_differs": Rule(Property.AGREEMENT, "An acknowledgement names a number that is another event's."),
    "not_in_database": Rule(Property.AGREEMENT, "What the log or a client has is missing in PostgreSQL."),
    "not_in_history": Rule(
        Property.AGREEMENT, "What the log, PostgreSQL or a client has is missing in REST history."
    ),
    "not_shown": Rule(Property.AGREEMENT, "What another client was shown, a client that was there was not."),
    # integrity: once, and only what was sent
    "shown_twice": Rule(Property.INTEGRITY, "A client was shown the same event twice."),
    "stored_twice": Rule(Property.INTEGRITY, "A source has two events of one number."),
    "numbered_twice": Rule(Property.INTEGRITY, "One message has two numbers."),
    "not_in_log": Rule(Property.INTEGRITY, "An event was shown or stored that the log does not number."),
    "never_sent": Rule(Property.INTEGRITY, "A message is there that its sender never sent."),
    "text_differs": Rule(Property.INTEGRITY, "A message says something else than what its sender sent."),
    "ack_unsent": Rule(Property.INTEGRITY, "A client got an acknowledgement for an id that it never sent."),
    "absent_numbered": Rule(
        Property.INTEGRITY, "An id was taken for absent and its text sent again, yet the id has a number."
    ),
    # total order: 1, 2, 3 ... for everybody
    "hole": Rule(Property.TOTAL_ORDER, "Numbers are missing, and no gap said so."),
    "out_of_order": Rule(Property.TOTAL_ORDER, "A client was shown an event after one with a higher number."),
    "bad_number": Rule(Property.TOTAL_ORDER, "A number below 1."),
    "not_open": Rule(
        Property.TOTAL_ORDER, "A client was shown an event of a channel that was not open to it."
    ),
    "after_closed": Rule(Property.TOTAL_ORDER, "A client was shown an event after its view had been closed."),
    "after_removal": Rule(
        Property.TOTAL_ORDER,
        "A client was shown its person's own removal, or what came after it, and the person was not added again.",
    ),
    "gap_lies": Rule(Property.TOTAL_ORDER, "A gap does not say exactly what is lacking."),
    "opened_lies": Rule(Property.TOTAL_ORDER, "An open view was opened again at another place."),
    "closed_lies": Rule(
        Property.TOTAL_ORDER, "A view was closed at a number that the client was never shown."
    ),
    "wrong_epoch": Rule(Property.TOTAL_ORDER, "The epoch of the log changed without a reset."),
    "sender_order": Rule(
        Property.TOTAL_ORDER, "One sender's messages are not in the order in which it sent them."
    ),
    "ack_order": Rule(Property.TOTAL_ORDER, "A message sent after an acknowledgement has the lower number."),
}


class Finding(NamedTuple):
    """One counter-example. `evidence`: where to look, such as `anna.jsonl:17`; `seq` 0 when it has none."""

    rule: str
    channel: str
    seq: int
    what: str
    evidence: tuple[str, ...]

    @property
    def property(self) -> Property:
        return RULES[self.rule].property


class Findings:
    """Counts every breach by rule and keeps the first counter-example of each."""

    def __init__(self) -> None:
        self.first: dict[str, Finding] = {}
        self.counts: dict[str, int] = {}

    def add(self, rule: str, channel: str, seq: int, what: str, *evidence: str) -> None:
        property_counts = self.counts
        property_counts[rule] = property_counts.get(rule, 0) + 1
        if rule not in self.first:
            assert rule in RULES, rule
            self.first[rule] = Finding(rule, channel, seq, what, evidence)

    def broken(self, property: Property) -> list[Finding]:
        """The first counter-example of every broken rule of this property."""
        return [finding for finding in self.first.values() if finding.property is property]


class CannotJudge(Exception):
    """A source cannot be read or makes no sense, or there is nothing to judge: no verdict either way."""

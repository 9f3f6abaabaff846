"""Do the log and the database speak of the same epoch? Pure: what both say goes in, what to do comes out."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from services.contract.generation import Generation


class Step(Enum):
    """What is left to do."""

    NOTHING = "both know the same epoch"
    CREATE = "neither knows an epoch"
    COMPLETE_DATABASE = "the log was made, and the database was not told"


class Disagreement(Exception):
    """Log and database belong to different histories; the message says which, and what an operator must do."""


def agree(log: Mapping[int, Generation], database: Mapping[int, Generation], log_is_empty: bool) -> Step:
    """Compare what both know, by epoch. `log_is_empty`: nothing was ever written to the log's newest epoch.

    Raises Disagreement.
    """
    if not log and not database:
        return Step.CREATE
    if not database:
        if set(log) == {1} and log_is_empty:
            # A bootstrap that died between the two: nothing can have been lost yet.
            return Step.COMPLETE_DATABASE
        raise Disagreement(
            f"the log is in epoch {max(log)}, but the database knows no epoch: the database was lost, or it is "
            f"another one. Restore the database from a backup, or point LOCKSTEP_DATABASE_* to the right one"
        )
    newest = max(database)
    if not log:
        raise Disagreement(
            f"the database is in epoch {newest}, but the log knows no epoch: Kafka's data was wiped, or it is "
            f"another cluster. Point LOCKSTEP_KAFKA to the right one, or, if the log is lost, begin a new epoch: "
            f"`python -m services.bootstrap next-epoch --salvage FILE`"
        )
    if max(log) > newest:
        raise Disagreement(
            f"the log is in epoch {max(log)}, but the database in epoch {newest}: an epoch change was interrupted, or "
            f"the database is an old copy. If the former, run `python -m services.bootstrap next-epoch` again"
        )
    if max(log) < newest:
        raise Disagreement(
            f"the database is in epoch {newest}, but the log in epoch {max(log)}: Kafka's data is an old copy, or it "
            f"is another cluster. Point LOCKSTEP_KAFKA to the right one, or begin a new epoch: "
            f"`python -m services.bootstrap next-epoch --salvage FILE`"
        )
    if log[newest] != database[newest]:
        raise Disagreement(
            f"log and database both are in epoch {newest}, but not in the same one: {log[newest]} and "
            f"{database[newest]}. One of them belongs to another installation"
        )
    return Step.NOTHING

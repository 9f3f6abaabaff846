"""What all tables have in common: the names of constraints, the types of columns, and where versions come from."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import ClassVar

from sqlalchemy import BigInteger, DateTime, LargeBinary, MetaData, Sequence, Text, Uuid, func
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

row_version = Sequence("row_version", metadata=metadata, data_type=BigInteger)
"""Draw with `select nextval('row_version')` only while holding the lock of the row that gets it."""


class Base(DeclarativeBase):
    metadata = metadata
    type_annotation_map: ClassVar[dict[type, object]] = {
        str: Text,
        int: BigInteger,
        bytes: LargeBinary,
        dt.datetime: DateTime(timezone=True),
        uuid.UUID: Uuid,
    }


def created() -> Mapped[dt.datetime]:
    return mapped_column(server_default=func.now())

"""/v1/audit."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from web_app.audit import repository
from web_app.audit.schemas import AuditEntry, AuditPage
from web_app.dependencies import Reading, ReadingViewer
from web_app.fields import Listing
from web_app.paging import listing
from web_app.permissions import acts, require
from web_app.problems import problems
from web_app.replies import reply

router = APIRouter(prefix="/v1/audit", tags=["audit"])


@router.get(
    "",
    operation_id="list_audit_entries",
    openapi_extra=acts("audit.read"),
    summary="Read the audit log",
    response_model=Listing[AuditEntry],
    responses=problems("forbidden"),
)
async def list_audit_entries(
    page: Annotated[AuditPage, Query()], viewer: ReadingViewer, db: Reading
) -> Response:
    """What was done to the workspace, its people, groups and channels, by whom; the newest first. Never changed."""
    require("audit.read", viewer.role)
    rows = await repository.list_entries(
        db,
        viewer.workspace_id,
        before=page.after("aud") or None,
        limit=page.limit,
        action=page.action,
        actor_id=page.actor_id,
        target=page.target,
    )
    return reply(
        listing(
            rows,
            page.limit,
            lambda row: str(row.id),
            lambda row: AuditEntry(
                id=row.id,
                actor_id=row.actor_id,
                action=row.action,
                target=row.target,
                details=row.details,
                created_at=row.created_at,
            ),
        )
    )

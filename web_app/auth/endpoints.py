"""/v1/auth and /v1/sessions."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from web_app.auth import repository, service
from web_app.auth.schemas import LoggedIn, LogIn, PasswordChange, Refresh, SessionItem, Tokens
from web_app.auth.sessions import end_sessions
from web_app.dependencies import (
    AccessClaims,
    ClientAddress,
    PartsOfApp,
    Reading,
    ReadingViewer,
    Transaction,
    WritingViewer,
)
from web_app.fields import Listing, SessionPath
from web_app.paging import PageQuery, listing
from web_app.permissions import acts
from web_app.problems import ApiError, problems
from web_app.replies import reply

router = APIRouter(prefix="/v1", tags=["auth"])


@router.post(
    "/auth/login",
    operation_id="log_in",
    openapi_extra=acts("anybody"),
    summary="Log in",
    response_model=LoggedIn,
    responses=problems("invalid_credentials", "slow_down", "too_large", public=True),
)
async def log_in(wanted: LogIn, parts: PartsOfApp, address: ClientAddress) -> Response:
    """Starts a session. Wrong workspace, wrong e-mail address and wrong password look the same."""
    return reply(await service.log_in(parts, wanted, address))


@router.post(
    "/auth/refresh",
    operation_id="refresh_tokens",
    openapi_extra=acts("anybody"),
    summary="Trade a refresh token for new tokens",
    response_model=Tokens,
    responses=problems("refresh_invalid", "refresh_reused", "too_large", public=True),
)
async def refresh(wanted: Refresh, parts: PartsOfApp) -> Response:
    """Each refresh token is good once. A second use ends the session: somebody else may hold the token.

    Only within a minute, and before a new one was used, may it be traded again, for an answer that was lost.
    """
    return reply(await service.refresh(parts, wanted))


@router.post(
    "/auth/logout",
    operation_id="log_out",
    openapi_extra=acts("self"),
    summary="Log out",
    status_code=204,
    responses=problems(),
)
async def log_out(viewer: WritingViewer, db: Transaction) -> None:
    """Ends the session of the access token, and its live connections."""
    await end_sessions(db, viewer.user_id, "logout", viewer.session_id)


@router.post(
    "/auth/password",
    operation_id="change_password",
    openapi_extra=acts("self"),
    summary="Change your password",
    status_code=204,
    responses=problems("invalid_credentials", "conflict", "slow_down", "too_large"),
)
async def change_password(
    wanted: PasswordChange, claims: AccessClaims, parts: PartsOfApp, address: ClientAddress
) -> None:
    """Ends all your other sessions, and their live connections."""
    await service.change_password(parts, claims, wanted, address)


@router.get(
    "/sessions",
    operation_id="list_sessions",
    openapi_extra=acts("self"),
    summary="List your sessions",
    response_model=Listing[SessionItem],
    responses=problems(),
)
async def list_sessions(page: PageQuery, viewer: ReadingViewer, db: Reading) -> Response:
    """Your log-ins that have not ended, oldest first."""
    rows = await repository.list_sessions(db, viewer.user_id, page.after("ses"), page.limit)
    return reply(
        listing(
            rows,
            page.limit,
            lambda row: str(row.id),
            lambda row: SessionItem(
                id=row.id,
                device=row.device,
                current=row.id == viewer.session_id,
                created_at=row.created_at,
                last_used_at=row.last_used_at,
            ),
        )
    )


@router.delete(
    "/sessions/{session_id}",
    operation_id="revoke_session",
    openapi_extra=acts("self"),
    summary="End one of your sessions",
    status_code=204,
    responses=problems("not_found"),
)
async def revoke_session(session_id: SessionPath, viewer: WritingViewer, db: Transaction) -> None:
    """Its tokens stop working at once, and its live connections are closed."""
    if not await end_sessions(db, viewer.user_id, "revoked", session_id):
        raise ApiError("not_found", "You have no such session.")

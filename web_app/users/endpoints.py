"""/v1/me and /v1/users."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from web_app.auth.service import user_shown, workspace_shown
from web_app.dependencies import PartsOfApp, Reading, ReadingViewer, Transaction, WritingViewer
from web_app.fields import Listing, UserPath
from web_app.paging import PageQuery, listing
from web_app.permissions import acts
from web_app.problems import problems
from web_app.replies import DoneOnce, reply
from web_app.users import profiles, repository, service
from web_app.users.schemas import Me, NewStatus, ProfileChange, User, UserChange, UserChanged

router = APIRouter(prefix="/v1", tags=["users"])


@router.get(
    "/me",
    operation_id="get_me",
    openapi_extra=acts("self"),
    summary="Who you are",
    response_model=Me,
    responses=problems(),
)
async def get_me(viewer: ReadingViewer, db: Reading) -> Response:
    """You, your workspace, and the session of the access token."""
    row = await repository.find_with_workspace(db, viewer.user_id)
    return reply(Me(user=user_shown(row), workspace=workspace_shown(row), session_id=viewer.session_id))


@router.patch(
    "/me/profile",
    operation_id="change_profile",
    openapi_extra=acts("self"),
    summary="Change what others see of you",
    response_model=UserChanged,
    responses=problems("slow_down", "id_reused", "too_large"),
)
async def change_profile(
    wanted: ProfileChange, viewer: WritingViewer, db: Transaction, once: DoneOnce, parts: PartsOfApp
) -> Response:
    """Everybody in the workspace is told, by a notice."""
    parts.attempts.change(viewer.user_id)
    return await once(lambda: profiles.change_profile(db, viewer, wanted))


@router.put(
    "/me/status",
    operation_id="set_status",
    openapi_extra=acts("self"),
    summary="Say what you are up to",
    response_model=UserChanged,
    responses=problems("slow_down", "too_large"),
)
async def set_status(
    wanted: NewStatus, viewer: WritingViewer, db: Transaction, parts: PartsOfApp
) -> Response:
    """From `expires_at` on nobody is shown it any more."""
    parts.attempts.change(viewer.user_id)
    return reply(await profiles.set_status(db, viewer, wanted))


@router.delete(
    "/me/status",
    operation_id="clear_status",
    openapi_extra=acts("self"),
    summary="Clear your status",
    response_model=UserChanged,
    responses=problems("slow_down"),
)
async def clear_status(viewer: WritingViewer, db: Transaction, parts: PartsOfApp) -> Response:
    """Clearing what is clear changes nothing."""
    parts.attempts.change(viewer.user_id)
    return reply(await profiles.clear_status(db, viewer))


@router.get(
    "/users",
    operation_id="list_users",
    openapi_extra=acts("people.see"),
    summary="List the workspace's people",
    response_model=Listing[User],
    responses=problems(),
)
async def list_users(page: PageQuery, viewer: ReadingViewer, db: Reading) -> Response:
    """Everybody, also the deactivated, oldest first. Guests see those with whom they share a channel."""
    rows = await repository.list_users(db, viewer, page.after("usr"), page.limit)
    return reply(listing(rows, page.limit, lambda row: str(row.id), user_shown))


@router.get(
    "/users/{user_id}",
    operation_id="get_user",
    openapi_extra=acts("people.see"),
    summary="Show somebody",
    response_model=User,
    responses=problems("not_found"),
)
async def get_user(user_id: UserPath, viewer: ReadingViewer, db: Reading) -> Response:
    """Guests see those with whom they share a channel."""
    return reply(user_shown(await service.found(db, viewer, user_id)))


@router.patch(
    "/users/{user_id}",
    operation_id="change_user",
    openapi_extra=acts("people.change_role"),
    summary="Change somebody's role",
    response_model=UserChanged,
    responses=problems("forbidden", "not_found", "conflict", "too_large"),
)
async def change_user(
    user_id: UserPath, wanted: UserChange, viewer: WritingViewer, db: Transaction
) -> Response:
    """For owners and admins; only owners make owners, and change what owners are. The last owner stays one."""
    return reply(await service.change_role(db, viewer, user_id, wanted.role))


@router.post(
    "/users/{user_id}/deactivate",
    operation_id="deactivate_user",
    openapi_extra=acts("people.deactivate"),
    summary="Deactivate somebody",
    response_model=UserChanged,
    responses=problems("forbidden", "not_found", "conflict"),
)
async def deactivate_user(user_id: UserPath, viewer: WritingViewer, db: Transaction) -> Response:
    """For owners and admins. Ends all their sessions at once. The last owner stays."""
    return reply(await service.set_active(db, viewer, user_id, False))


@router.post(
    "/users/{user_id}/reactivate",
    operation_id="reactivate_user",
    openapi_extra=acts("people.deactivate"),
    summary="Reactivate somebody",
    response_model=UserChanged,
    responses=problems("forbidden", "not_found"),
)
async def reactivate_user(user_id: UserPath, viewer: WritingViewer, db: Transaction) -> Response:
    """For owners and admins. They can log in again."""
    return reply(await service.set_active(db, viewer, user_id, True))

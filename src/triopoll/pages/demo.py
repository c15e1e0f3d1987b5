"""``/demo``: a QR login, an inbox and a job, as the pages of an application have them.

Pages ask these routes for what only a publisher may do; `demo_backend` does it. Its
routes are served to the demo's own pages, and they change only keys that the demo has
made. So they open publishing to no one.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

import msgspec
import segno
from msgspec import Meta
from quart import (
    Blueprint,
    Response,
    abort,
    current_app,
    render_template,
    request,
    url_for,
)

from ..access.proxies import is_direct_and_local, is_local_name
from ..api.validation import StrictStruct
from ..asgi.messages import Request, request_of
from ..services import Services
from .demo_backend import DemoBackend, DemoRefused, Requester

__all__ = ["add_demo", "demo_is_open"]

_Shape = TypeVar("_Shape", bound=StrictStruct)
_Text: TypeAlias = Annotated[str, Meta(min_length=1, max_length=200)]
_Id: TypeAlias = Annotated[str, Meta(min_length=1, max_length=128)]
# Before a key is looked up: what is in a path can be of any length.
_KEY = "<string(length=22):key>"


class Nothing(StrictStruct):
    """A body without members."""


class ByPhone(StrictStruct):
    """Which phone has decided."""

    phone: _Id


class Choice(StrictStruct):
    """Which number was chosen on the page that the poll secret belongs to."""

    choice: int
    poll_secret: _Id


class Text(StrictStruct):
    """A message for an inbox, with the sender's id for it."""

    text: _Text
    id: _Id


class JobRequest(StrictStruct):
    """Who is to do the job."""

    by: Literal["server", "worker"]


def demo_is_open(services: Services) -> bool:
    """Return whether the demo is served to the client of the current request.

    By default only to this machine, and only where no key, ticket or proxy is
    configured: the routes of the demo let every visitor store something.
    """
    mode = services.settings.demo
    if mode != "auto":
        return mode == "on"
    rules = services.access.rules
    closed = rules.keyring is not None or rules.tickets is not None
    if closed or rules.proxies.any_trusted:
        return False
    asked = _asgi_request()
    hosts = [value for name, value in asked.headers if name == b"host"]
    return is_direct_and_local(asked) and all(
        is_local_name(host.decode("latin-1")) for host in hosts
    )


def add_demo(pages: Blueprint, services: Callable[[], Services]) -> None:
    """Add the routes of the demo.

    Args:
        pages: The blueprint of all pages.
        services: Returns what the demo works with, once the application is started.
    """

    @pages.before_request
    async def check_demo() -> None:
        path = request.path.removeprefix(request.root_path)
        if path == "/demo" or path.startswith("/demo/"):
            _check(services())

    pages.register_error_handler(DemoRefused, _refuse)
    _add_pages(pages)
    _add_backend(pages, lambda: DemoBackend(services()))


def _check(services: Services) -> None:
    """Refuse what does not come from a page of the demo.

    A page of another site can make a browser send requests here, and can give its own
    host name this address (DNS rebinding); `demo_is_open` refuses such a name.
    """
    if not demo_is_open(services):
        abort(404)
    if request.method == "POST" and not services.access.rules.cors.trusts_page(
        _asgi_request()
    ):
        raise DemoRefused(403, "origin", "the demo serves its own pages only")


def _add_pages(pages: Blueprint) -> None:
    for name in ("login", "phone", "inbox", "job"):
        pages.add_url_rule(f"/demo/{name}", name, _page(name))
    pages.add_url_rule("/demo", "demo", _page("demo"))


def _page(name: str) -> Callable[[], Any]:
    async def show() -> str:
        return await render_template(f"pages/{name}.html")

    return show


def _add_backend(pages: Blueprint, backend: Callable[[], DemoBackend]) -> None:
    @pages.post("/demo/logins")
    async def create_login() -> Any:
        await _body(Nothing)
        return await backend().create_login(_requester())

    @pages.get(f"/demo/logins/{_KEY}/qr.svg")
    async def show_code(key: str) -> Response:
        page = url_for("triopoll_pages.phone", _external=True)
        return Response(_svg(f"{page}#{key}"), content_type="image/svg+xml")

    @pages.post(f"/demo/logins/{_KEY}/scan")
    async def scan(key: str) -> Any:
        await _body(Nothing)
        return await backend().scan(key, _requester())

    @pages.post(f"/demo/logins/{_KEY}/approve")
    async def approve(key: str) -> Any:
        return await backend().approve(key, (await _body(ByPhone)).phone)

    @pages.post(f"/demo/logins/{_KEY}/reject")
    async def reject(key: str) -> Any:
        return await backend().reject(key, (await _body(ByPhone)).phone)

    @pages.post(f"/demo/logins/{_KEY}/choose")
    async def choose(key: str) -> Any:
        body = await _body(Choice)
        return await backend().choose(key, body.poll_secret, body.choice)

    @pages.post("/demo/rooms")
    async def create_room() -> Any:
        await _body(Nothing)
        return await backend().create_room()

    @pages.post("/demo/rooms/<string(length=22):room>")
    async def enter_room(room: str) -> Any:
        await _body(Nothing)
        return await backend().enter_room(room)

    @pages.post("/demo/rooms/<string(length=22):room>/messages")
    async def send(room: str) -> Any:
        body = await _body(Text)
        return await backend().send(room, body.text, body.id)

    @pages.post("/demo/jobs")
    async def create_job() -> Any:
        by = (await _body(JobRequest)).by
        made, job = await backend().create_job(by, _requester())
        if job is not None:
            # Quart does not say what it calls.
            current_app.add_background_task(job)  # pyright: ignore[reportUnknownMemberType]
        return made


async def _body(kind: type[_Shape]) -> _Shape:
    """Return the body of the current request.

    Raises:
        DemoRefused: It is not JSON of this kind.
    """
    # A form of another site can send JSON, but not with this type.
    if request.mimetype != "application/json":
        raise DemoRefused(415, "bad_request", "the body is not application/json")
    try:
        return msgspec.json.decode(await request.get_data(), type=kind)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise DemoRefused(400, "bad_request", f"the body: {error}") from None


async def _refuse(error: DemoRefused) -> tuple[dict[str, str], int]:
    return {"code": error.code, "message": str(error)}, error.status


def _requester() -> Requester:
    asked = _asgi_request()
    agent = request.headers.get("User-Agent", "")
    return Requester(asked, agent)


def _asgi_request() -> Request:
    return request_of(request.scope)


def _svg(text: str) -> bytes:
    """Return a QR code, with the quiet zone that cameras need."""
    out = io.BytesIO()
    segno.make_qr(text).save(out, kind="svg", border=4, scale=8, omitsize=True)
    return out.getvalue()

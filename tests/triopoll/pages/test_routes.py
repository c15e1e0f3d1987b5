"""What `/` says, where the pages are, and that other routes go before them."""

from __future__ import annotations

import re

import pytest
from quart import Blueprint
from tests.triopoll.pages.asking import get, pages

PATHS = (
    "/",
    "/docs",
    "/demo",
    "/demo/login",
    "/demo/phone",
    "/demo/inbox",
    "/demo/job",
)


async def test_index_says_what_answers() -> None:
    """Slock and the messages are named, with where they are."""
    async with pages() as app:
        call = await get(app, "/")
    text = " ".join(re.sub(r"<[^>]+>", " ", call.body.decode()).split())
    assert call.status == 200
    assert "slock answers (embedded in this process)" in text
    assert "Messages in the memory of this process" in text
    assert "New clients welcome" in text


async def test_index_says_what_is_wrong() -> None:
    """While the server shuts down, it says that new clients should go elsewhere."""
    async with pages() as app:
        app.drain.begin()
        call = await get(app, "/")
    assert b"not welcome: the server is going away" in call.body


async def test_routes_of_the_application_win() -> None:
    """A route for `/` that was added to the application is served, not the page."""
    routes = Blueprint("mine", __name__)
    routes.add_url_rule("/", "mine", lambda: "this is mine")
    async with pages(routes) as app:
        assert (await get(app, "/")).body == b"this is mine"
        assert b"QR login" in (await get(app, "/demo")).body


@pytest.mark.parametrize("path", PATHS)
async def test_links_work_below_a_path(path: str) -> None:
    """Mounted at /push, all links and files of a page are below /push."""
    async with pages() as app:
        call = await get(app, f"/push{path}", root_path="/push")
        page = call.body.decode()
        links = set(re.findall(r'(?:href|src)="(/[^"#]*)"', page))
        assert links
        for link in links:
            assert link.startswith("/push/")
            assert (await get(app, link, root_path="/push")).status == 200
    assert '"triopoll": "/push/js/' in page or "importmap" not in page

"""To whom the demo is served, and what its routes accept."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import pytest
from tests.triopoll.pages.asking import JSON, get, pages, post

from triopoll.access import entry_for, new_key

KEYS = entry_for("shop", new_key(), ["shop:*"])
SECRET = "x" * 43


@pytest.mark.parametrize(
    "settings",
    [
        {"demo": "off"},
        {"publish_keys": KEYS},
        {"ticket_secrets": SECRET},
        {"trusted_proxies": "127.0.0.1"},
    ],
)
async def test_not_served(settings: dict[str, Any]) -> None:
    """By default there is no demo once keys, tickets or proxies are configured."""
    async with pages(**settings) as app:
        assert (await get(app, "/demo")).status == 404
        assert (await get(app, "/demo/login")).status == 404
        call = await get(app, "/demo/logins", [JSON], method="POST", body=b"{}")
        assert call.status == 404
        assert b"TRIOPOLL_DEMO=on" in (await get(app, "/")).body


@pytest.mark.parametrize(
    "settings", [{"publish_keys": KEYS}, {"ticket_secrets": SECRET}]
)
async def test_served_if_asked_for(settings: dict[str, Any]) -> None:
    """TRIOPOLL_DEMO=on serves it with any other settings."""
    async with pages(demo="on", **settings) as app:
        assert (await get(app, "/demo")).status == 200
        assert (await post(app, "/demo/logins", {}))[0] == 200


async def test_only_this_machine() -> None:
    """By default it is not served to other machines, behind proxies, to their names."""
    async with pages() as app:
        assert (await get(app, "/demo")).status == 200
        forwarded = [(b"x-forwarded-for", b"203.0.113.1")]
        assert (await get(app, "/demo", forwarded)).status == 404
        rebound = [(b"host", b"evil.example")]
        assert (await get(app, "/demo", rebound)).status == 404


@pytest.mark.parametrize(
    "headers",
    [
        [JSON, (b"origin", b"https://evil.example")],
        [JSON, (b"sec-fetch-site", b"cross-site")],
    ],
)
async def test_other_pages_are_refused(headers: Any) -> None:
    """A page of another site cannot use the demo of a visitor's machine."""
    async with pages() as app:
        status, body = await post(app, "/demo/rooms", {}, headers)
    assert (status, body["code"]) == (403, "origin")


async def test_forms_are_refused() -> None:
    """What a form can send without a preflight is not accepted."""
    async with pages() as app:
        plain = [(b"content-type", b"text/plain")]
        assert (await post(app, "/demo/rooms", {}, plain))[0] == 415


@pytest.mark.parametrize(
    "body", [{"text": "x" * 201, "id": "1"}, {"text": "x"}, {"text": 1, "id": "1"}, []]
)
async def test_bodies_are_checked(body: object) -> None:
    """A body with another shape is refused with 400."""
    async with pages() as app:
        _, made = await post(app, "/demo/rooms", {})
        path = f"/demo/rooms/{made['room']}/messages"
        status, answer = await post(app, path, body)
    assert (status, answer["code"]) == (400, "bad_request")


async def test_code() -> None:
    """The code is an SVG image without scripts, and does not contain the secret."""
    async with pages() as app:
        _, login = await post(app, "/demo/logins", {})
        call = await get(app, f"/demo/logins/{login['key']}/qr.svg")
    assert dict(call.headers)[b"content-type"].startswith(b"image/svg+xml")
    tags = {one.tag.rpartition("}")[2] for one in ET.fromstring(call.body).iter()}
    assert tags == {"svg", "path"}

"""Where the admin page is, and that it is off by default."""

from __future__ import annotations

import re

from tests.triopoll.pages.asking import get, pages

from triopoll.access import entry_for

KEYS = entry_for("olga", "the-key", ["*"])


async def test_off_unless_configured() -> None:
    """It answers as a path that is not there."""
    async with pages() as app:
        assert (await get(app, "/admin")).status == 404


async def test_the_page_says_nothing_by_itself() -> None:
    """It is the same for everybody, under the policy of all pages."""
    async with pages(admin_keys=KEYS) as app:
        call = await get(app, "/admin")
    headers = dict(call.headers)
    assert call.status == 200
    assert b"default-src 'none'" in headers[b"content-security-policy"]
    assert headers[b"cache-control"] == b"no-store"
    assert "the-key" not in call.body.decode()


async def test_files_of_the_page() -> None:
    """All that it loads is there, also below a path."""
    async with pages(admin_keys=KEYS) as app:
        page = (await get(app, "/push/admin", root_path="/push")).body.decode()
        links = set(re.findall(r'(?:href|src)="(/[^"#]*)"', page))
        links |= {f"/push/pages/{name}" for name in ("admin.js", "admin-view.js")}
        for link in links:
            assert link.startswith("/push/")
            # The demo is off where keys are configured.
            if "/demo" not in link:
                assert (await get(app, link, root_path="/push")).status == 200

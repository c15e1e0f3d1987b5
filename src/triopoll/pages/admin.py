"""``/admin``: one page over `/admin/api`, for operators.

The page itself says nothing about the service, so anyone may load it where it is on.
Its script asks for a key, keeps it for the tab, and sends it with each request.
"""

from __future__ import annotations

from collections.abc import Callable

from quart import Blueprint, abort, render_template

from ..services import Services

__all__ = ["add_admin"]


def add_admin(pages: Blueprint, services: Callable[[], Services]) -> None:
    """Add the page, which is there only if operators' keys are configured.

    Args:
        pages: The blueprint of all pages.
        services: Returns what the page is about, once the application is started.
    """

    @pages.get("/admin")
    async def admin() -> str:
        if services().admin is None:
            abort(404)
        return await render_template("pages/admin.html")

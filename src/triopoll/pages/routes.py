"""``/``, ``/docs`` and the files of all pages; `demo` has the others."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from quart import Blueprint, render_template, request

from ..api.javascript import module_path
from ..services import Services
from .admin import add_admin
from .api_docs import api_description
from .demo import add_demo, demo_is_open
from .security import add_security_headers, script_nonce

__all__ = ["pages_blueprint"]


def pages_blueprint(services: Callable[[], Services]) -> Blueprint:
    """Return the routes of all pages.

    Args:
        services: Returns what the pages ask, once the application is started.
    """
    pages = Blueprint(
        "triopoll_pages",
        __name__,
        static_folder="static",
        static_url_path="/pages",
        template_folder="templates",
    )
    pages.after_request(add_security_headers)
    pages.context_processor(_context)

    @pages.get("/")
    async def index() -> str:
        return await _index(services())

    @pages.get("/docs")
    async def docs() -> str:
        return await render_template("pages/docs.html", api=api_description())

    add_admin(pages, services)
    add_demo(pages, services)
    return pages


def _context() -> dict[str, Any]:
    """Return what all templates use."""
    return {
        "version": version("trioslock"),
        # Below a path of another application, the paths of the endpoints are too.
        "root": request.root_path,
        "module": request.root_path + module_path(),
        "nonce": script_nonce,
    }


async def _index(services: Services) -> str:
    reasons = await services.health.reasons()
    return await render_template(
        "pages/index.html",
        reasons=reasons,
        embedded=services.settings.embedded_address is not None,
        in_memory=services.settings.keeps_messages,
        demo=demo_is_open(services),
    )

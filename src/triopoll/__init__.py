"""Long polling on slock events and Redis lists, served by Quart-Trio.

``triopoll serve`` serves it, and so does any ASGI server, on trio or on asyncio, that
is given ``triopoll:app``. This is an application: nothing is meant to be imported from
it but the app.
"""

from __future__ import annotations

from .app import app as app

__all__ = ["app"]

"""Long polling on slock events and Redis lists, served by Quart-Trio.

``triopoll serve`` serves it, and so does any ASGI server, on trio or on asyncio, that
is given ``triopoll:app``. `Triopoll` is the class of it: a Quart-Trio application, to
which routes and blueprints may be added. Nothing else is meant to be imported.
"""

from __future__ import annotations

from .app import Triopoll as Triopoll
from .app import app as app

__all__ = ["Triopoll", "app"]

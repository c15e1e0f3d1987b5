"""Long polling on slock events and Redis lists, served by Quart-Trio.

``hypercorn -k trio triopoll:app`` serves it; this is an application, nothing is meant
to be imported from it but the app.
"""

from __future__ import annotations

from .app import app as app

__all__ = ["app"]

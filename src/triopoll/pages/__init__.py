"""Pages for people: what this server is, a demo, and the description of the API.

Ordinary Quart routes in one blueprint, which `triopoll.app` registers behind all routes
that were added to the application.
"""

from __future__ import annotations

from .routes import pages_blueprint

__all__ = ["pages_blueprint"]

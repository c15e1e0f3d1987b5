"""Long polling on slock events and Redis lists, served by Quart-Trio.

``hypercorn -k trio triopoll:app`` or ``triopoll serve`` runs it. This is an
application: apart from what a server needs, nothing is imported from it.
"""

from .app import Triopoll, app

__all__ = ["Triopoll", "app"]

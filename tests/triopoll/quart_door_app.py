"""The application with every endpoint behind Quart."""

from __future__ import annotations

from triopoll.app import Triopoll

app = Triopoll(lean=False)

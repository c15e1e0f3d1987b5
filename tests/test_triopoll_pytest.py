"""The fixtures of triopoll: markers, overrides, and what is not installed."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from quart import Quart

from triopoll import Triopoll
from triopoll.settings import Settings
from triopoll.testing import TriopollServer


class TestOverrides:
    """A class whose application has a route of its own."""

    pytestmark = pytest.mark.triopoll(max_message_bytes=5, demo="off")

    @pytest.fixture
    def triopoll_app(self, triopoll_settings: Settings) -> Triopoll:
        app = Triopoll(triopoll_settings)
        assert isinstance(app, Quart)

        @app.get("/own")
        async def own() -> dict[str, int]:
            return {"own": 1}

        return app

    @pytest.mark.triopoll(max_message_bytes=6)
    def test_the_closest_marker_wins(self, triopoll_options: dict[str, Any]) -> None:
        """Those further out are added."""
        assert triopoll_options == {"max_message_bytes": 6, "demo": "off"}

    def test_an_own_route_is_served(self, triopoll_server: TriopollServer) -> None:
        """Beside the endpoints, with the settings of the marker."""
        assert triopoll_server.request("GET", "/own") == {"own": 1}
        with pytest.raises(AssertionError, match="longer than 5 bytes"):
            triopoll_server.publish("k", "longer")


def test_a_missing_extra_is_named(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And only when a fixture is used."""
    monkeypatch.setitem(sys.modules, "triopoll.testing", None)
    with pytest.raises(pytest.fail.Exception, match=r"trioslock\[poll\]"):
        request.getfixturevalue("triopoll_server")

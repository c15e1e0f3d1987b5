"""The pytest plugin of triopoll: the service in a thread of the test process.

Like the plugin of trioslock it is imported in each run of pytest, so it imports nothing
of the package until a fixture is used. Its needs are those of the extra ``poll``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from triopoll import Triopoll
    from triopoll.testing import TriopollServer


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        "markers",
        "triopoll(**settings): settings of the fixture triopoll_server, named as in "
        "the TRIOPOLL_ variables, in lower case: triopoll(v1_max_timeout=5)",
    )


@pytest.fixture
def triopoll_options(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The settings that the test asks for; override it to change those of all."""
    markers = list(request.node.iter_markers("triopoll"))
    # The closest marker comes first, and has the last word.
    return {
        name: value for each in markers[::-1] for name, value in each.kwargs.items()
    }


@pytest.fixture
def triopoll_settings(triopoll_options: dict[str, Any]) -> Iterator[Any]:
    """The settings of the service: an engine and messages of its own, in memory."""
    try:
        from triopoll.testing import open_settings  # noqa: PLC0415
    except ImportError as error:
        pytest.fail(
            f"the fixtures of triopoll need the extra: pip install trioslock[poll] "
            f"({error})",
            pytrace=False,
        )
    with open_settings(**triopoll_options) as settings:
        yield settings


@pytest.fixture
def triopoll_app(triopoll_settings: Any) -> Triopoll:
    """The application; override it to add routes of your own."""
    from triopoll import Triopoll  # noqa: PLC0415

    return Triopoll(triopoll_settings)


@pytest.fixture
def triopoll_server(
    triopoll_app: Triopoll, triopoll_settings: Any
) -> Iterator[TriopollServer]:
    """The application on a free port, for trio, asyncio and blocking tests."""
    from triopoll.testing import open_triopoll_server  # noqa: PLC0415

    with open_triopoll_server(triopoll_app, triopoll_settings) as server:
        yield server

"""One browser for all tests of the pages, with a new tab for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from selenium.webdriver import Chrome
from tests.services import find_free_port
from tests.triopoll.pages.browser import Tab, chromium
from tests.triopoll.service import Process, poll_process

OpenTab = Callable[..., Tab]


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with chromium(tmp_path_factory.mktemp("chromium")) as driver:
        yield driver


@pytest.fixture
def open_tab(browser: Chrome) -> Iterator[OpenTab]:
    """Open tabs; none of them may have logged an error at the end of the test."""
    first = browser.current_window_handle
    tabs: list[Tab] = []

    def open_tab(*, unreachable: bool = False, handle: str = "") -> Tab:
        tabs.append(Tab(browser, unreachable=unreachable, handle=handle))
        return tabs[-1]

    yield open_tab
    logs = [tab.logs() for tab in tabs]
    for handle in browser.window_handles:
        if handle != first:
            browser.switch_to.window(handle)
            browser.close()
    browser.switch_to.window(first)
    assert logs == [[] for _ in tabs]


@pytest.fixture(scope="session")
def engine() -> str:
    """The address of the engine that is embedded in the service."""
    return f"slock://127.0.0.1:{find_free_port()}"


@pytest.fixture(scope="session")
def service(engine: str) -> Iterator[Process]:
    """The service as it runs without configuration, on ports of its own."""
    with poll_process(slock=engine.replace("slock", "embedded")) as running:
        yield running


@pytest.fixture
def site(service: Process) -> str:
    return f"http://127.0.0.1:{service.port}"

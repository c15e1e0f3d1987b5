"""The admin page in a browser: what it shows, and what strangers cannot do to it."""

from __future__ import annotations

import json
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import quote

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from tests.triopoll.pages.browser import Tab
from tests.triopoll.pages.conftest import OpenTab
from tests.triopoll.service import Process, poll_process

from triopoll.access import entry_for

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

KEY = "the-key-of-an-operator"
HOSTILE = "<img src=x onerror=\"document.title='broken'\">\u202e"
SHOWN = HOSTILE.replace("\u202e", "\\u{202e}")


@pytest.fixture(scope="module")
def admin() -> Iterator[Process]:
    settings = {"admin_keys": entry_for("olga", KEY, ["*"])}
    with poll_process(server="triopoll", **settings) as running:
        yield running


@contextmanager
def waiting(port: int, *keys: str) -> Iterator[list[socket.socket]]:
    """Clients that wait for messages of these keys."""
    with ExitStack() as stack:
        clients: list[socket.socket] = []
        for key in keys:
            client = socket.create_connection(("127.0.0.1", port), timeout=40)
            clients.append(stack.enter_context(client))
            target = f"/v1/messages?key={quote(key)}&timeout=50"
            client.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        yield clients


def publish(port: int, key: str, *texts: str) -> None:
    for text in texts:
        body = json.dumps({"key": key, "data": text}).encode()
        urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/publish", body).close()


def sign_in(tab: Tab, port: int) -> None:
    tab.open(f"http://127.0.0.1:{port}/admin")
    tab.until(lambda: tab.find("#operator-key").is_displayed())
    tab.find("#operator-key").send_keys(KEY, Keys.ENTER)
    tab.until(lambda: tab.find("#overview").is_displayed())


def test_a_key_is_needed(open_tab: OpenTab, admin: Process) -> None:
    """A wrong one is refused and forgotten; the right one is kept for the tab."""
    tab = open_tab()
    tab.open(f"http://127.0.0.1:{admin.port}/admin")
    tab.until(lambda: tab.find("#operator-key").is_displayed())
    tab.find("#operator-key").send_keys("wrong", Keys.ENTER)
    tab.until(lambda: tab.text("#error") == "the API key is not known")
    assert len(tab.logs()) == 1  # the refused request
    assert tab.run("return sessionStorage.length") == 0
    sign_in(tab, admin.port)
    tab.reload()
    tab.until(lambda: tab.find("#overview").is_displayed())
    assert tab.run("return localStorage.length") == 0
    tab.press("Forget the key")
    tab.until(lambda: tab.find("#sign-in").is_displayed())
    assert not tab.find("#overview").is_displayed()
    assert tab.run("return sessionStorage.length") == 0


def test_waits_and_one_key(open_tab: OpenTab, admin: Process) -> None:
    """Hostile keys are text; a test message reaches who waits for it."""
    publish(admin.port, HOSTILE, *map(str, range(30)))
    tab = open_tab()
    with waiting(admin.port, HOSTILE, "user:1", "user:2") as (client, *_):
        sign_in(tab, admin.port)
        tab.until(lambda: SHOWN in tab.texts("#keys button"))
        tab.until(lambda: "user:" in tab.texts("#prefixes td"))
        assert tab.texts("#kinds td")[:2] == ["log", "3"]
        (button,) = [
            each
            for each in tab.driver.find_elements(By.CSS_SELECTOR, "#keys button")
            if each.text == SHOWN
        ]
        button.click()
        tab.until(lambda: tab.find("#one-key").is_displayed())
        assert "30" in tab.texts("#key-facts dd")
        assert tab.texts("#waiters td")[:2] == ["(no ticket)", "log"]
        assert len(tab.texts("#messages tbody tr")) == 20
        tab.press("Older messages")
        tab.until(lambda: len(tab.texts("#messages tbody tr")) == 30)
        tab.find("#data").send_keys(HOSTILE.replace("\u202e", ""), Keys.ENTER)
        tab.until(lambda: "the waits are woken" in tab.text("#published"))
        assert b"onerror" in client.recv(65536)
        message = tab.texts("#messages tbody tr td")[1]
        assert message == HOSTILE.replace("\u202e", "")
    assert tab.run("return document.images.length") == 0
    assert tab.run("return document.title") == "Admin"
    assert tab.foreign_requests() == []


def test_keyboard_and_colours(open_tab: OpenTab, admin: Process) -> None:
    """The focus stays where it is when numbers change, in light and dark."""
    tab = open_tab()
    with waiting(admin.port, "focus"):
        sign_in(tab, admin.port)
        tab.until(lambda: "focus" in tab.texts("#keys button"))
        tab.run("document.querySelector('#keys button').focus()")
        since = tab.text("#status")
        tab.until(lambda: tab.text("#status") != since)
        focused = (
            "return document.activeElement === document.querySelector('#keys button')"
        )
        assert tab.run(focused)
        tab.find("#keys button").send_keys(Keys.ENTER)
        tab.until(lambda: tab.find("#one-key").is_displayed())
        assert tab.run("return document.activeElement.id") == "key-title"
        assert tab.accessibility() == []
        tab.emulate_dark()
        assert tab.accessibility() == []

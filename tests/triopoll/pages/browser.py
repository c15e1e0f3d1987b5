"""Headless Chromium, and what it reports about a page."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import axe_core_python
from selenium.webdriver import Chrome
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait
from tests.services import find_tool

# Seconds that a page may take on a machine that is busy with other tests.
PATIENCE = 45.0
_AXE = Path(axe_core_python.__file__).with_name("axe.min.js")
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_ARGUMENTS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic"),
    *("--no-first-run", "--disable-background-networking", "--disable-sync"),
    *("--disable-component-update", "--disable-dev-shm-usage"),
    *("--disable-extensions", "--window-size=900,1000"),
)
# What the browser logs of a request that met no server. A page says so itself.
_UNREACHABLE = (
    "net::ERR_CONNECTION_REFUSED",
    "net::ERR_CONNECTION_RESET",
    "net::ERR_EMPTY_RESPONSE",
    "net::ERR_INCOMPLETE_CHUNKED_ENCODING",
    "net::ERR_INTERNET_DISCONNECTED",
    "net::ERR_NETWORK_CHANGED",
    "net::ERR_SOCKET_NOT_CONNECTED",
)


@contextlib.contextmanager
def chromium(folder: Path) -> Iterator[Chrome]:
    """Run a browser with a new profile."""
    options = Options()
    installed = (name for name in _NAMES if shutil.which(name))
    options.binary_location = find_tool(next(installed, _NAMES[0]))
    for argument in (*_ARGUMENTS, f"--user-data-dir={folder}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options, Service(find_tool("chromedriver")))
    try:
        driver.set_script_timeout(PATIENCE)
        driver.set_page_load_timeout(PATIENCE)
        yield driver
    finally:
        driver.quit()


class Tab:
    """One tab of a browser: each call brings it to the front first."""

    def __init__(
        self, driver: Chrome, *, unreachable: bool = False, handle: str = ""
    ) -> None:
        """Open a tab, or use one that a page has opened.

        Args:
            driver: The browser.
            unreachable: Whether the tab may log that a server was not reached.
            handle: Of a tab that is there.
        """
        self._driver = driver
        self._errors = _UNREACHABLE if unreachable else ()
        if not handle:
            driver.switch_to.new_window("tab")
        self.handle = handle or driver.current_window_handle

    @property
    def driver(self) -> Chrome:
        if self._driver.current_window_handle != self.handle:
            self._driver.switch_to.window(self.handle)
        return self._driver

    def open(self, url: str) -> None:
        self.driver.get(url)

    def reload(self) -> None:
        self.driver.refresh()

    def find(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        return self.find(selector).text

    def texts(self, selector: str) -> list[str]:
        found = self.driver.find_elements(By.CSS_SELECTOR, selector)
        return [one.text for one in found]

    def click(self, selector: str) -> None:
        """Click as a person does, once the element is there."""
        self.until(lambda: self.find(selector).is_displayed())
        self.find(selector).click()

    def follow(self, words: str) -> None:
        self.until(lambda: self.driver.find_elements(By.PARTIAL_LINK_TEXT, words))
        self.driver.find_element(By.PARTIAL_LINK_TEXT, words).click()

    def follow_to_new_tab(self, words: str) -> str:
        """Follow a link that opens a tab; return the handle of that tab."""
        before = set(self.driver.window_handles)
        self.follow(words)
        self.until(lambda: set(self.driver.window_handles) - before)
        (handle,) = set(self.driver.window_handles) - before
        return handle

    def press(self, words: str) -> None:
        """Press the button that is named so, once it is there."""
        xpath = f"//button[normalize-space()={words!r}]"
        self.until(lambda: self.driver.find_element(By.XPATH, xpath).is_displayed())
        self.driver.find_element(By.XPATH, xpath).click()

    def until(self, condition: Any) -> None:
        """Wait for a condition of this tab.

        Raises:
            TimeoutException: It does not come; the message has the page's text.
        """
        driver = self.driver

        def text() -> str:
            return driver.find_element(By.TAG_NAME, "body").text

        wait = WebDriverWait(driver, PATIENCE, 0.05, ignored_exceptions=(Exception,))
        try:
            wait.until(lambda _: condition())
        except Exception as error:
            raise AssertionError(f"not in time: {text()}\n{self.logs()}") from error

    def until_state(self, state: str) -> None:
        self.until(lambda: self.find("body").get_attribute("data-state") == state)

    def run(self, script: str, *arguments: object) -> Any:
        return self.driver.execute_script(script, *arguments)

    def logs(self) -> list[str]:
        """Return what was logged since the last call: errors and CSP violations."""
        return [
            entry["message"]
            for entry in self.driver.get_log("browser")
            if entry["level"] in ("SEVERE", "WARNING")
            and not any(error in entry["message"] for error in self._errors)
        ]

    def emulate_dark(self) -> None:
        feature = {"name": "prefers-color-scheme", "value": "dark"}
        self.driver.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": [feature]}
        )

    def offline(self, offline: bool) -> None:
        # Selenium's own function does it for all tabs, and for those that come.
        conditions = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        self.driver.execute_cdp_cmd("Network.enable", {})
        self.driver.execute_cdp_cmd(
            "Network.emulateNetworkConditions", {"offline": offline, **conditions}
        )

    def accessibility(self) -> list[str]:
        """Return what axe finds wrong with the page as it is."""
        self.run(_AXE.read_text())
        script = """
            const done = arguments[0];
            axe.run().then(
              ({violations}) => done(violations.map((one) =>
                `${one.id}: ${one.help}: ${one.nodes.map((n) => n.html).join(" ")}`)),
              (error) => done([`${error}`]));
        """
        found: list[str] = self.driver.execute_async_script(script)
        return found

    def foreign_requests(self) -> list[str]:
        """Return the addresses that were loaded from other origins."""
        script = """
            return performance.getEntriesByType("resource").map(({name}) => name)
              .filter((name) => new URL(name).origin !== location.origin);
        """
        found: list[str] = self.run(script)
        return found

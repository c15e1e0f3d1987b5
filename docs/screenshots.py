"""Take the screenshots of the documentation: ``python docs/screenshots.py``.

Starts the service on a free port, signs in with the demo in a headless Chromium, looks
at the admin page while clients wait, and writes what it sees to ``docs/_static``.
"""

from __future__ import annotations

import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests.triopoll.pages.browser import Tab, chromium  # noqa: E402
from tests.triopoll.pages.test_admin_browser import (  # noqa: E402
    KEY,
    publish,
    sign_in,
    waiting,
)
from tests.triopoll.service import poll_process  # noqa: E402

from triopoll.access import entry_for  # noqa: E402

WIDE, NARROW, TALL = (760, 860), (500, 780), (1000, 1300)
# For three samples of the rates.
SECONDS = 16


def main(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as profile,
        poll_process() as service,
        chromium(Path(profile)) as driver,
    ):
        driver.set_window_size(*WIDE)
        site = f"http://127.0.0.1:{service.port}"
        computer, phone = Tab(driver), Tab(driver)
        computer.open(f"{site}/demo/login")
        computer.until_state("pending")
        computer.until(lambda: computer.run("return document.images[0].complete"))
        save(computer, folder / "qr-login.png")
        steps = [narrow(computer)]
        phone.open(computer.find("#phone").get_attribute("href"))
        phone.until_state("scanned")
        save(phone, folder / "qr-login-phone.png")
        steps.append(narrow(phone))
        phone.click("#approve")
        computer.until_state("approved")
        save(computer, folder / "qr-login-numbers.png")
        (folder / "demo.png").write_bytes(beside(Tab(driver), steps))
        picture_of_admin(Tab(driver), folder / "admin.png")


def picture_of_admin(tab: Tab, file: Path) -> None:
    keys = ["user:1", "user:2", "user:2", *["prices/gold"] * 5, "prices/silver", "news"]
    entry = entry_for("olga", KEY, ["*"])
    with poll_process(server="triopoll", admin_keys=entry) as service:
        with waiting(service.port, *keys):
            for number in range(2 * SECONDS):
                publish(service.port, f"audit:{number % 3}", "an entry")
                time.sleep(0.5)
            tab.driver.set_window_size(*TALL)
            sign_in(tab, service.port)
            tab.until(lambda: "news" in tab.texts("#keys button"))
            tab.run("document.documentElement.style.overflow = 'hidden'")
            save(tab, file)
    tab.driver.set_window_size(*WIDE)


def save(tab: Tab, file: Path) -> None:
    file.write_bytes(tab.driver.get_screenshot_as_png())


def narrow(tab: Tab) -> bytes:
    """Return a picture of the page in a window of half the README's width."""
    tab.driver.set_window_size(*NARROW)
    # A bar for scrolling would be all that the picture shows of the rest of the page.
    tab.run("document.documentElement.style.overflow = 'hidden'")
    picture = tab.driver.get_screenshot_as_png()
    tab.run("document.documentElement.style.overflow = ''")
    tab.driver.set_window_size(*WIDE)
    return picture


def beside(tab: Tab, pictures: Sequence[bytes]) -> bytes:
    """Return one picture of several, from the left to the right."""
    images = "".join(
        f'<img src="data:image/png;base64,{b64encode(one).decode()}">'
        for one in pictures
    )
    style = (
        "main{display:flex;width:max-content;gap:8px;background:#8a94a0;padding:8px}"
    )
    page = f"<!doctype html><style>{style}</style><main>{images}</main>"
    tab.driver.set_window_size(NARROW[0] * len(pictures) + 100, NARROW[1] + 200)
    tab.open(f"data:text/html;base64,{b64encode(page.encode()).decode()}")
    return tab.find("main").screenshot_as_png


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "_static")

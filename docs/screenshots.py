"""Take the screenshots of the documentation: ``python docs/screenshots.py``.

Starts the service on a free port, signs in with the demo in a headless Chromium, and
writes what it sees to ``docs/_static``.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests.triopoll.pages.browser import Tab, chromium  # noqa: E402
from tests.triopoll.service import poll_process  # noqa: E402

WIDTH, HEIGHT = 760, 860


def main(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as profile,
        poll_process() as service,
        chromium(Path(profile)) as driver,
    ):
        driver.set_window_size(WIDTH, HEIGHT)
        site = f"http://127.0.0.1:{service.port}"
        computer, phone = Tab(driver), Tab(driver)
        computer.open(f"{site}/demo/login")
        computer.until_state("pending")
        computer.until(lambda: computer.run("return document.images[0].complete"))
        save(computer, folder / "qr-login.png")
        phone.open(computer.find("#phone").get_attribute("href"))
        phone.until_state("scanned")
        save(phone, folder / "qr-login-phone.png")
        phone.click("#approve")
        computer.until_state("approved")
        save(computer, folder / "qr-login-numbers.png")


def save(tab: Tab, file: Path) -> None:
    file.write_bytes(tab.driver.get_screenshot_as_png())


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "_static")

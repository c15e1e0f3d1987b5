"""The built site has copy buttons and a search, by ``docs/conf.py``."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from tests.triopoll.pages.browser import Tab, chromium

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGE = """# Start

```console
$ trioslock info
the answer
```

```python
>>> import trioslock
>>> with trioslock:
...     pass
```

```text
no prompt
```

A word that is nowhere else: *capercaillie*.
"""
COPIED = {
    "console": "trioslock info",
    "python": "import trioslock\nwith trioslock:\n    pass",
    "text": "no prompt",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One page, built as ``nox -s docs`` builds all."""
    if importlib.util.find_spec("sphinx_copybutton") is None:
        pytest.skip("the dependency group docs is not installed; nox -s docs has it")
    folder = tmp_path_factory.mktemp("site")
    source, built = folder / "source", folder / "built"
    source.mkdir()
    (source / "index.md").write_text(PAGE)
    command = [sys.executable, "-m", "sphinx", "-W", "-q", "-c", str(DOCS)]
    subprocess.run([*command, str(source), str(built)], check=True, timeout=100)
    return built


@pytest.mark.slow
def test_pages_load_the_copy_buttons(site: Path) -> None:
    """With the prompts that are not copied."""
    assert 'src="_static/copybutton.js' in (site / "index.html").read_text()
    script = (site / "_static" / "copybutton.js").read_text()
    assert r"'\\$ |>>> |\\.\\.\\. ', true" in script


@pytest.mark.slow
def test_the_index_has_the_words(site: Path) -> None:
    assert '"capercailli"' in (site / "searchindex.js").read_text()
    assert "searchtools.js" in (site / "search.html").read_text()


@pytest.mark.browser
def test_a_reader_copies_and_searches(site: Path, tmp_path: Path) -> None:
    """What is in the clipboard has no prompts; the search finds the page."""
    with served(site) as address, chromium(tmp_path) as driver:
        tab = Tab(driver)
        tab.open(f"{address}/index.html")
        for language, text in COPIED.items():
            assert copied(tab, language) == text
        tab.open(f"{address}/search.html?q=capercaillie")
        tab.until(lambda: tab.texts("#search-results li a"))
        assert tab.texts("#search-results li a") == ["Start"]


def copied(tab: Tab, language: str) -> str:
    """Press the button of a block; return what can be pasted then."""
    button = f".highlight-{language} button.copybtn"
    tab.until(lambda: tab.find(button))
    # Not by a script: a page may copy only when the reader has pressed something.
    ActionChains(tab.driver).move_to_element(tab.find(button)).click().perform()
    tab.until(lambda: tab.find(f"{button}.success"))
    tab.run("document.body.append(document.createElement('textarea'))")
    area = tab.driver.find_elements("tag name", "textarea")[-1]
    area.send_keys(Keys.CONTROL, "v")
    text = area.get_property("value")
    assert isinstance(text, str)
    return text


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve the files of a folder."""
    handler = partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()

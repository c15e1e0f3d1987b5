"""The browser of the pages' tests."""

from __future__ import annotations

from tests.triopoll.pages.conftest import browser as browser
from tests.triopoll.pages.conftest import open_tab as open_tab

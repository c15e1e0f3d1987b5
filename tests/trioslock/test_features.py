"""The table of features is true: each test that it names is there."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "features.md"
LINK = re.compile(r'\[(?:yes|test)\]\((?P<path>[^ )]+) "(?P<name>\w+)"\)')


def test_every_test_that_the_table_names_is_there() -> None:
    links = list(LINK.finditer(PAGE.read_text()))
    assert len(links) > 40
    for link in links:
        source = (PAGE.parent / link["path"]).read_text()
        assert re.search(rf"def {link['name']}\(", source), link.group()


def test_every_yes_is_a_link() -> None:
    """Ours is the last column of each row with nine."""
    for row in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in row.split("|")]
        if len(cells) == 11 and cells[-2] not in ("trioslock", "---"):
            assert LINK.fullmatch(cells[-2]) or cells[-2].startswith("no: "), row

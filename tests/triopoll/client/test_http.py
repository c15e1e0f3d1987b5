from __future__ import annotations

import pytest

from triopoll.client._http import Site


@pytest.mark.parametrize(
    ("url", "host", "port", "prefix", "authority"),
    [
        ("http://h", "h", 80, "", "h"),
        ("http://h:8000/poll/", "h", 8000, "/poll", "h:8000"),
        ("http://[::1]:8000", "::1", 8000, "", "[::1]:8000"),
        ("http://[::1]/a/b", "::1", 80, "/a/b", "[::1]"),
    ],
)
def test_what_a_site_url_says(
    url: str, host: str, port: int, prefix: str, authority: str
) -> None:
    """The URL names a host, a port and a path that all requests begin with."""
    site = Site.parse(url)
    assert (site.host, site.port, site.prefix) == (host, port, prefix)
    assert site.authority == authority


@pytest.mark.parametrize(
    "url",
    [
        *("", "h:8000", "ftp://h", "http://", "http:///path"),
        *("http://user@h", "http://h?x=1", "http://h#x", "http://h:port"),
        *("http://h:99999", "http://[::1", "http://::1]", "http://[host]"),
        *("http://a[::1]", "http://[::1]b", "http://a,[::1]:80"),
    ],
)
def test_what_is_no_site_url(url: str) -> None:
    """Anything but scheme, host, port and path is refused, on each Python alike."""
    with pytest.raises(ValueError, match=r"."):
        Site.parse(url)

"""A client of a backend that keeps cookies, and shows no page."""

from __future__ import annotations

import http.cookiejar
import json
import urllib.error
import urllib.request
from typing import Any

from tests.triopoll.service import LIMIT


class Browser:
    """A client of a backend, with cookies."""

    def __init__(self, url: str) -> None:
        jar = http.cookiejar.CookieJar()
        cookies = urllib.request.HTTPCookieProcessor(jar)
        self._open = urllib.request.build_opener(cookies).open
        self._url = url

    def post(self, path: str, status: int = 200, **body: object) -> Any:
        """Send JSON, check the status, and return the JSON of the answer."""
        found, answer = self.send(path, **body)
        assert found == status, answer
        return answer

    def send(self, path: str, **body: object) -> tuple[int, Any]:
        """Send JSON; return the status, and the JSON of the answer."""
        headers = {"Content-Type": "application/json"}
        data = json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, headers)
        try:
            with self._open(request, timeout=LIMIT) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

"""Write and read streams of triopoll from any program. No dependencies.

Without configuration, programs on the same machine may write. Elsewhere, set
TRIOPOLL_KEY to the API key.
"""

import http.client
import os
import time
import urllib.error
import urllib.request
import uuid
from urllib.parse import quote, urlencode

URL = os.environ.get("TRIOPOLL_URL", "http://127.0.0.1:8000")
# What another attempt may cure.
TRANSIENT = (408, 429, 500, 502, 503, 504)
# How long a writer tries before it gives up, seconds.
PATIENCE = 120


def address(path):
    return f"{URL}/v1/stream/{quote(path)}"


def send(method, url, data=None, **headers):
    """Send a request until it is answered; return the headers and the body.

    Raises:
        urllib.error.HTTPError: It was refused.
    """
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if key := os.environ.get("TRIOPOLL_KEY"):
        named["Authorization"] = f"Bearer {key}"
    deadline = time.monotonic() + PATIENCE
    while True:
        request = urllib.request.Request(url, data, named, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.headers, response.read()
        except urllib.error.HTTPError as error:
            error.close()
            if error.code not in TRANSIENT or time.monotonic() > deadline:
                raise
        except (OSError, http.client.HTTPException):
            if time.monotonic() > deadline:
                raise
        time.sleep(0.5)


class Writer:
    """A new stream of text, and its only producer.

    An append that was not answered is sent again with the same number, so it is there
    once, whatever has failed in between.
    """

    def __init__(self, path, keep_for=86_400):
        self.url = address(path)
        self._id = uuid.uuid4().hex
        self._number = 0
        send("PUT", self.url, Content_Type="text/plain", Stream_TTL=str(keep_for))

    def append(self, text):
        self._send(text.encode(), Content_Type="text/plain")

    def close(self):
        """Tell the readers that nothing follows."""
        self._send(b"", Stream_Closed="true")

    def _send(self, data, **headers):
        producer = {
            "Producer_Id": self._id,
            "Producer_Epoch": "0",
            "Producer_Seq": str(self._number),
        }
        send("POST", self.url, data, **headers, **producer)
        self._number += 1


def follow(path):
    """Yield the text of a stream as it is appended, until the stream is closed."""
    offset, cursor = "-1", None
    while True:
        query = {"offset": offset, "live": "long-poll"}
        if cursor:
            query["cursor"] = cursor
        headers, body = send("GET", f"{address(path)}?{urlencode(query)}")
        if body:
            yield body.decode()
        if headers["Stream-Closed"]:
            return
        offset, cursor = headers["Stream-Next-Offset"], headers["Stream-Cursor"]

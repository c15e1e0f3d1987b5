"""The states of triopoll for a web backend: create, read, change. No dependencies.

Without configuration, programs on the same machine may publish. Elsewhere, set
TRIOPOLL_KEY to the API key.
"""

import functools
import json
import os
import urllib.error
import urllib.request

URL = os.environ.get("TRIOPOLL_URL", "http://127.0.0.1:8000")


class Refused(Exception):
    """triopoll has refused a request; `code` says why."""

    def __init__(self, status, answer):
        super().__init__(answer.get("message"))
        self.status = status
        self.code = answer.get("code")


def send(method, path, body=None):
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get("TRIOPOLL_KEY"):
        headers["Authorization"] = f"Bearer {key}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(URL + path, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return json.loads(response.read() or b"null")
    except urllib.error.HTTPError as error:
        raise Refused(error.code, json.loads(error.read())) from None


def create(**body):
    return send("POST", "/v1/states", body)


def put(key, **change):
    return send("PUT", f"/v1/states/{key}", change)


def read(key, poll_secret):
    """Return the state as it is. Who has the secret may read it."""
    body = {"key": key, "poll_secret": poll_secret, "version": 0, "timeout": 0}
    return send("POST", "/v1/states/wait", body)


def acknowledge(key, poll_secret, version):
    body = {"key": key, "poll_secret": poll_secret, "version": version}
    return send("POST", "/v1/states/ack", body)


@functools.cache
def module():
    """Return the address of triopoll.js; the version in it is that of the server."""
    return f"{URL}/js/{send('GET', '/openapi.json')['info']['version']}/triopoll.js"

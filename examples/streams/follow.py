"""Prints the JSON messages of a stream until it is closed, with the package of PyPI.

    pip install durable-streams==0.1.0
    python follow.py URL

It reads by long polls: this version of the client does not go on after the end of a
response with server-sent events.
"""

import json
import os
import sys
import time
from pathlib import Path

import httpx
from durable_streams import stream

PAUSE = 1.0
# Above `TRIOPOLL_STREAM_TIMEOUT`.
SILENCE = 40.0
# What another attempt cures; 401: the next ticket.
TRANSIENT = (401, 429, 500, 502, 503, 504)


class Closed(Exception):
    """The reader has all, and nothing follows."""


def stop_when_closed(response):
    # Nor does it know that streams can be closed: it would ask again at once, for ever.
    if response.status_code == 204 and "stream-closed" in response.headers:
        raise Closed


def authorization():
    """Return the present ticket; the client asks before each request."""
    return f"Bearer {Path(os.environ['TICKET_FILE']).read_text()}"


def follow(url):
    """Yield the messages, over ends of connections and outages.

    The client retries nothing by itself. It goes on from the last event that was
    handled in full, so that nothing is lost or comes twice.
    """
    offset = "-1"
    hooks = {"response": [stop_when_closed]}
    with httpx.Client(event_hooks=hooks, timeout=SILENCE) as client:
        while True:
            try:
                with stream(
                    url,
                    offset=offset,
                    live="long-poll",
                    headers={"Authorization": authorization},
                    client=client,
                    timeout=SILENCE,
                ) as messages:
                    for event in messages.iter_events(mode="json"):
                        yield from event.data
                        offset = event.next_offset
            except Closed:
                return
            except httpx.HTTPError:
                pass
            except Exception as error:
                if getattr(error, "status", None) not in TRANSIENT:
                    raise
            time.sleep(PAUSE)


if __name__ == "__main__":
    for message in follow(sys.argv[1]):
        print(json.dumps(message), flush=True)

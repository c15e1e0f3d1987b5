"""Compare reading and writing the JSON of ``/v1`` with the `json` module alone.

Run: ``python bench/v1_json.py``. Baseline: ``json.loads`` of the same body, or
``json.dumps`` of the same messages, without any check. CPU time, so that other
processes of the machine count less.
"""

from __future__ import annotations

import json
import time
import timeit
from collections.abc import Callable

from triopoll.api.v1.decoding import read_publish, read_wait
from triopoll.api.v1.serializers import encode, log_message
from triopoll.settings import Settings
from triopoll.store import StoredMessage

_SETTINGS = Settings()
_BODIES = {
    "publish a string": {"key": "orders.17", "data": "paid", "id": "evt-88"},
    "publish an object": {
        "key": "orders.17",
        "data": {"state": "paid", "at": [1, 2.5]},
    },
    "publish 100 strings": {
        "items": [{"key": "k", "data": "x" * 200, "id": f"{n}"} for n in range(100)]
    },
}
_WAIT = {"items": [{"key": "chat.7", "cursor": "new"}, {"type": "event", "key": "e"}]}


def _microseconds(work: Callable[[], object]) -> float:
    timer = timeit.Timer(work, timer=time.process_time)
    number, _ = timer.autorange()
    return min(timer.repeat(5, number)) / number * 1e6


def _compare(
    name: str, work: Callable[[], object], baseline: Callable[[], object]
) -> None:
    cost, floor = _microseconds(work), _microseconds(baseline)
    print(f"{name:24} {cost:8.2f} us   {cost / floor:5.2f} of json's {floor:.2f} us")


def main() -> None:
    """Print microseconds per operation, and the ratio to the baseline."""
    for name, shape in _BODIES.items():
        body = json.dumps(shape).encode()
        _compare(
            name,
            lambda body=body: read_publish(body, _SETTINGS),
            lambda body=body: json.loads(body),
        )
    body = json.dumps(_WAIT).encode()
    _compare(
        "wait for two items",
        lambda: read_wait(body, _SETTINGS),
        lambda: json.loads(body),
    )
    page = [StoredMessage(f"6f0a12bc.{n}.9d2e", b"x" * 200, 1.5) for n in range(100)]
    shapes = [{"id": each.id, "data": "x" * 200, "ts": each.ts} for each in page]
    _compare(
        "write 100 messages",
        lambda: encode(list(map(log_message, page))),
        lambda: json.dumps(shapes).encode(),
    )


if __name__ == "__main__":
    main()

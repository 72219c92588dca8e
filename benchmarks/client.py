"""A client of the service in a process of its own: so many connections, each kept alive, one request after another.

    python -m benchmarks.client < ORDER.json

The order is a JSON object with the fields of `Order`. What was found is printed as one: `a_second`, and the times of
requests, `p50` and `p99`, in seconds. An answer of another status than is wanted ends it with an error.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import date, timedelta
from http.client import HTTPConnection
from itertools import count
from statistics import quantiles
from time import perf_counter

__all__ = ["Order", "main"]

#: The first day that triggers ask for; each of a connection asks for another range.
_FIRST = date(2001, 1, 1)
_DAYS = 9_000


@dataclass(frozen=True, slots=True)
class Order:
    """What to do for so many seconds: poll `path`, or, if there are `channels`, trigger there: a connection each.

    Without channels there are as many `connections`.
    """

    port: int
    key: str
    path: str
    seconds: float
    connections: int
    channels: tuple[str, ...] = ()


def _bodies(channel: str) -> Iterator[bytes]:
    """Requests for one channel, no two of one range."""
    for number in count():
        length, day = divmod(number, _DAYS)
        start = _FIRST + timedelta(day)
        body = {"channel_id": channel, "start_date": f"{start}", "end_date": f"{start + timedelta(length)}"}
        yield json.dumps(body).encode()


def _repeat(order: Order, bodies: Iterator[bytes] | None) -> list[float]:
    """One connection's requests; what each took."""
    headers = {"X-API-Key": order.key} | ({"Content-Type": "application/json"} if bodies else {})
    method, wanted = ("POST", 202) if bodies else ("GET", 200)
    times: list[float] = []
    with closing(HTTPConnection("127.0.0.1", order.port, timeout=60)) as connection:
        connection.connect()
        socket = connection.sock
        end = perf_counter() + order.seconds
        while (began := perf_counter()) < end:
            connection.request(method, order.path, next(bodies) if bodies else None, headers)
            answer = connection.getresponse()
            text = answer.read()
            times.append(perf_counter() - began)
            assert answer.status == wanted, f"{answer.status} {text.decode()}"
            # It would connect anew in silence, and a connection be measured.
            assert connection.sock is socket, "the connection was not kept alive"
    return times


def main(say: Callable[[str], object] = print) -> None:
    """Carry the order out and say what was found."""
    order = Order(**json.load(sys.stdin))
    each: list[Iterator[bytes] | None] = [_bodies(channel) for channel in order.channels] or [None] * order.connections
    began = perf_counter()
    with ThreadPoolExecutor(len(each)) as pool:
        times = [time for found in pool.map(lambda bodies: _repeat(order, bodies), each) for time in found]
    elapsed = perf_counter() - began
    hundredths = quantiles(times, n=100, method="inclusive")
    say(json.dumps({"a_second": len(times) / elapsed, "p50": hundredths[49], "p99": hundredths[98]}))


if __name__ == "__main__":
    main()

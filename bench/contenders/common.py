"""Code that the contenders in Python share: the command line, a fresh key, the output."""

from __future__ import annotations

import json
import sys
import threading
import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

CREDENTIALS = ("bench", "bench-password")


@dataclass(frozen=True)
class Task:
    """The command line: URL ORDER_ID CA_FILE REQUEST_FILE COUNT CONCURRENCY"""

    url: str
    order_id: str
    ca_file: str
    request: Any
    count: int
    concurrency: int

    @classmethod
    def from_arguments(cls) -> Task:
        url, order_id, ca_file, request, count, concurrency = sys.argv[1:]
        with open(request, encoding="utf-8") as file:
            return cls(url, order_id, ca_file, json.load(file), int(count), int(concurrency))

    @property
    def order_url(self) -> str:
        return f"{self.url}/ordermanagement/v1/orders/{self.order_id}"

    @property
    def captures_url(self) -> str:
        return f"{self.order_url}/captures"

    def body(self) -> bytes:
        """Each capture encodes the request anew."""
        return json.dumps(self.request).encode()

    def run(self, capture: Callable[[], str]) -> None:
        """Captures in as many threads as captures may run at once; `capture` does it once."""
        left = iter(range(self.count))
        lock = threading.Lock()
        last: list[str] = []
        failed: list[BaseException] = []

        def taken() -> Iterator[int]:
            while not failed:
                with lock:
                    turn = next(left, None)
                if turn is None:
                    return
                yield turn

        def work() -> None:
            try:
                for _ in taken():
                    last[:] = [capture()]
            except BaseException as error:
                failed.append(error)

        if self.concurrency == 1:
            work()
        else:
            threads = [threading.Thread(target=work) for _ in range(self.concurrency)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        if failed:
            raise failed[0]
        self.tell("".join(last))

    async def arun(self, capture: Callable[[], Awaitable[str]]) -> None:
        """The same in as many tasks of one event loop."""
        # here, since it would cost the others half of their cold start
        import asyncio

        left = iter(range(self.count))

        async def work() -> str:
            last = ""
            for _ in left:
                last = await capture()
            return last

        lasts = await asyncio.gather(*(work() for _ in range(self.concurrency)))
        self.tell(max(lasts))

    def tell(self, last: str) -> None:
        print(json.dumps({"captured": self.count, "last": last}))


def fresh_key() -> str:
    return str(uuid.uuid4())


def headers(authorization: str | None = None) -> dict[str, str]:
    """Those of one capture."""
    made = {
        "Content-Type": "application/json",
        "Accept": "application/json",
        "Klarna-Idempotency-Key": fresh_key(),
    }
    if authorization is not None:
        made["Authorization"] = authorization
    return made


AUTHORIZATION = "Basic YmVuY2g6YmVuY2gtcGFzc3dvcmQ="


def checked(status: int, capture_id: str | None) -> str:
    if status != 201 or capture_id is None:
        raise SystemExit(f"the answer was {status} with the id {capture_id}")
    return capture_id


def counted(lines: Sequence[Any], of_captures: Sequence[Sequence[Any]]) -> str:
    """Counts the lines of an order and of its captures, as far as each has its amount."""
    total = sum(isinstance(line["total_amount"], int) for line in lines)
    total += sum(isinstance(line["total_amount"], int) for one in of_captures for line in one)
    if total != 200:
        raise SystemExit(f"{total} lines were read")
    return str(total)

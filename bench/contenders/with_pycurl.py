"""Captures with pycurl: one handle, or its multi interface for many at once."""

from __future__ import annotations

import pycurl
from common import AUTHORIZATION, Task, checked, headers

task = Task.from_arguments()


class Exchange:
    """A handle that is used again."""

    def __init__(self) -> None:
        self.capture_id: str | None = None
        self.easy = pycurl.Curl()
        self.easy.setopt(pycurl.URL, task.captures_url)
        self.easy.setopt(pycurl.CAINFO, task.ca_file)
        self.easy.setopt(pycurl.PROXY, "")
        self.easy.setopt(pycurl.NOSIGNAL, 1)
        self.easy.setopt(pycurl.HEADERFUNCTION, self.on_header)
        self.easy.setopt(pycurl.WRITEFUNCTION, len)

    def on_header(self, line: bytes) -> None:
        if line[:11].lower() == b"capture-id:":
            self.capture_id = line[11:].strip().decode("ascii")

    def begin(self) -> None:
        self.capture_id = None
        lines = [f"{name}: {value}" for name, value in headers(AUTHORIZATION).items()]
        self.easy.setopt(pycurl.HTTPHEADER, lines)
        self.easy.setopt(pycurl.POSTFIELDS, task.body())

    def end(self) -> str:
        return checked(self.easy.getinfo(pycurl.RESPONSE_CODE), self.capture_id)


def one_after_another() -> None:
    exchange = Exchange()

    def capture() -> str:
        exchange.begin()
        exchange.easy.perform()
        return exchange.end()

    task.run(capture)


def many_at_once() -> None:
    multi = pycurl.CurlMulti()
    multi.setopt(pycurl.M_MAXCONNECTS, task.concurrency)
    left, last = task.count, ""
    exchanges: dict[pycurl.Curl, Exchange] = {}
    for _ in range(min(task.concurrency, left)):
        exchange = Exchange()
        exchanges[exchange.easy] = exchange
        exchange.begin()
        multi.add_handle(exchange.easy)
        left -= 1
    waiting = len(exchanges)
    while waiting:
        while multi.perform()[0] == pycurl.E_CALL_MULTI_PERFORM:
            pass
        _, done, failed = multi.info_read()
        if failed:
            raise SystemExit(f"failed: {failed}")
        for easy in done:
            multi.remove_handle(easy)
            last = exchanges[easy].end()
            waiting -= 1
            if left:
                exchanges[easy].begin()
                multi.add_handle(easy)
                left -= 1
                waiting += 1
        if waiting and not done:
            multi.select(1.0)
    task.tell(last)


if task.concurrency == 1:
    one_after_another()
else:
    many_at_once()

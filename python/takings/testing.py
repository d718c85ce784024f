"""The stand-in Klarna for your tests, with faults on demand.

With pytest there is nothing to set up: the fixture `klarna_sandbox` is a `KlarnaSandbox`.

    def test_a_lost_answer_takes_the_money_once(klarna_sandbox):
        order_id = klarna_sandbox.create_order(6000, faults=["lost_answer"])
        my_shop.ship(order_id)
        assert len(klarna_sandbox.ledger(order_id)) == 1
        assert klarna_sandbox.audit() == []

Elsewhere it is a context manager: `with KlarnaSandbox() as sandbox: ...`. It is not a Klarna
product.
"""

from __future__ import annotations

import http.client
import json
import os
import urllib.parse
import weakref
from collections.abc import Iterable, Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any, TypedDict

from ._operations import Client
from ._sandbox import Fault, ReceivedRequest
from ._takings import Sandbox

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Fault", "KlarnaSandbox", "LedgerEntry", "ReceivedRequest"]


class LedgerEntry(TypedDict):
    """A call that was carried out. `kind` is its operation, and decides which of the members from
    `capture_id` on are there. The sandbox's README has them for each kind."""

    kind: str
    order_id: str
    idempotency_key: str | None
    request_number: int
    capture_id: str
    captured_amount: int
    captured_at: str
    reference: str | None
    refund_id: str
    refunded_amount: int
    refunded_at: str
    done_at: str
    amount: int
    number_of_days: int
    shipping_info: list[dict[str, Any]]


_running: weakref.WeakSet[Sandbox] = weakref.WeakSet()


def _leave() -> None:
    """A forked child would hold connections open that the sandbox ends."""
    for sandbox in _running:
        for descriptor in sandbox.inherited():
            os.close(descriptor)
    _running.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave)


class KlarnaSandbox:
    """A running stand-in for Klarna, on threads of this process, until `close` or the end of it.

    It listens on 127.0.0.1 alone. Forked children may call it, and only this process can end it.
    Its methods raise `ValueError` with the sandbox's words where something cannot be.
    """

    username = "sandbox"
    password = "sandbox"
    url: str
    """The `base_url` for a client of the sandbox."""

    def __init__(self) -> None:
        self._sandbox = Sandbox()
        _running.add(self._sandbox)
        self.url = self._sandbox.url

    @property
    def env(self) -> dict[str, str]:
        """The environment for `Client.from_env()`. Other `KLARNA_*` variables must not be set."""
        return {f"KLARNA_{name.upper()}": value for name, value in self._account().items()}

    def _account(self) -> dict[str, str]:
        return {"base_url": self.url, "username": self.username, "password": self.password}

    def client(self, **settings: Any) -> Client:
        """A client of the sandbox, with short pauses; `settings` are those of `takings.Client`."""
        usual: dict[str, Any] = {**self._account(), "backoff": 0.01}
        return Client(**(usual | settings))

    def create_order(
        self,
        order_amount: int,
        *,
        order_id: str | None = None,
        faults: Iterable[Fault] = (),
        **fields: Any,
    ) -> str:
        """Create an order over an amount in minor units and return its id, a UUID if none is given.

        `faults` strike its requests one after the other. `fields` are the order's other ones:
        `purchase_currency`, `merchant_reference1`, `order_lines`, `expires_in`, `status`,
        `fraud_status`, `initial_payment_method`, `knobs`.
        """
        order = {"order_amount": order_amount, "faults": [*map(_fault, faults)], **fields}
        if order_id is not None:
            order["order_id"] = order_id
        return str(self.control("/orders", order)["order_id"])

    def fault(self, order_id: str, fault: Fault, **members: Any) -> None:
        """Plan a fault for the order's next request that has none.

        `members` say more: `seconds=2` for a `delay`, `request=3` for the third request,
        `on="refund"` for the next refund. The order need not exist.
        """
        self.control(_path(order_id, "faults"), {**_fault(fault), **members})

    def clear_faults(self, order_id: str) -> None:
        """Drop the order's faults that have not struck."""
        self.control(_path(order_id, "faults"), method="DELETE")

    def ledger(self, order_id: str | None = None) -> list[LedgerEntry]:
        """All that was done, in order: to one order, or to all."""
        return self._list(order_id, "ledger")

    def audit(self, order_id: str | None = None) -> list[Any]:
        """What went wrong with the money of one order, or of all: `[]` if it moved as asked, once.

        A finding is a dict with `order_id`, `problem`, `message` and `request_numbers`.
        """
        return self._list(order_id, "audit")

    def requests(self, order_id: str | None = None) -> list[ReceivedRequest]:
        """The requests that arrived, oldest first: for one order, or all (the last 10,000)."""
        return self._list(order_id, "requests")

    def _list(self, order_id: str | None, what: str) -> list[Any]:
        entries: list[Any] = self.control(_path(order_id, what))
        return entries

    def advance(self, seconds: float) -> None:
        """Move the sandbox's clock on: keys are forgotten after 24 hours, orders expire."""
        self.control("/clock", {"advance_seconds": seconds})

    def reset(self) -> None:
        """Forget orders, captures, keys, faults and requests, and set the clock right."""
        self.control("/reset", {})

    def control(self, path: str, body: object = None, method: str | None = None) -> Any:
        """Ask the control endpoint directly; the sandbox's README lists its paths."""
        where = urllib.parse.urlsplit(self.url)
        # http.client uses no proxy, and tests do not put a double in its place
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=30)
        with closing(connection):
            data = None if body is None else json.dumps(body)
            method = method or ("GET" if data is None else "POST")
            connection.request(method, f"/sandbox{path}", data)
            answer = connection.getresponse()
            text = answer.read()
        document: Any = json.loads(text) if text else None
        if answer.status >= 400:
            raise ValueError(f"the sandbox: {document['error']}")
        return document

    def close(self) -> None:
        """End it, with all its connections. A forked child's call ends nothing."""
        self._sandbox.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<takings.testing.KlarnaSandbox {self.url}>"


def _fault(fault: Fault) -> Mapping[str, Any]:
    return {"fault": fault} if isinstance(fault, str) else fault


def _path(order_id: str | None, what: str) -> str:
    return f"/{what}" if order_id is None else f"/orders/{urllib.parse.quote(order_id, '')}/{what}"

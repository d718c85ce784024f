"""What type checkers let pass and refuse: mypy and pyright complain about an `ignore` too many."""

from __future__ import annotations

from pathlib import Path

import takings


def accepted(client: takings.Client, order_id: str, request: takings.CaptureRequest) -> None:
    """Never called, only checked."""
    line: takings.OrderLine = {
        "name": "Tomatoes",
        "quantity": 1,
        "unit_price": 1,
        "total_amount": 1,
        "subscription": {"name": "Weekly", "interval": "WEEK", "interval_count": 1},
    }
    capture: takings.Capture = client.capture(order_id, captured_amount=1, order_lines=[line])
    client.capture(order_id, request, idempotency_key=capture.idempotency_key)
    client.capture(order_id, {"captured_amount": 1, "order_lines": [line]})
    client.capture(order_id, idempotency_key=None, **request)
    takings.Client("user", "password", region="eu", environment="live", timeout=5, backoff=0.1)
    takings.Client(api_key="key", base_url="https://shop.example", ca_file=Path("ca.pem"))
    takings.Client("user", "password", proxy=None, timeout=None)
    with takings.Client.from_env() as made:
        made.capture(order_id, captured_amount=1)
    error: ValueError = takings.InvalidInput("no")
    del error


def refused(client: takings.Client, order_id: str, request: takings.CaptureRequest) -> None:
    """Never called, only checked."""
    client.capture(order_id)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    client.capture(order_id, captured_amount="1")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    client.capture(order_id, captured_amount=1.5)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    client.capture(order_id, captured_amount=1, reference=None)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    client.capture(order_id, captured_amuont=1)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    client.capture(order_id, {"captured_amount": 1, "order_line": []})  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    client.capture(order_id, request, reference="both")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    client.capture(5, request)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    takings.Client("user", "password", environment="test")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    takings.Client("user", "password", timeout="5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    takings.Client("user", "password", timeout_ms=5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]

"""A shop as a WSGI application, under gunicorn: `gunicorn wsgi`.

POST /orders/ORDER_ID/parcels/NAME with {"amount": "60.00", "currency": "EUR"} captures a parcel
that ships. It may be called as often as you like: the same parcel is captured once.

The address and the account come from the environment: see `takings.Client.from_env`.
"""

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

import takings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

# With --preload it is made before the workers are forked: each opens
# connections of its own.
klarna = takings.Client.from_env()


def ship(order_id: str, name: str, amount: str, currency: str) -> tuple[str, dict[str, str]]:
    try:
        capture = klarna.capture(
            order_id,
            captured_amount=takings.minor(amount, currency),
            reference=name,
            idempotency_key=takings.idempotency_key(order_id, name),
        )
    except takings.InvalidInput as error:
        return "400 Bad Request", {"detail": str(error)}
    except takings.TakingsError as error:
        # 503: not known, or not now; the same request again settles it
        status = "503 Service Unavailable" if error.retryable else "409 Conflict"
        return status, {"detail": str(error)}
    return "200 OK", {"capture_id": capture.capture_id}


def application(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
    asked_for = None
    status, told = "404 Not Found", {"detail": "POST /orders/ORDER_ID/parcels/NAME"}
    try:
        # WSGI has the bytes of a path as Latin-1; a name that is read wrongly
        # is another name
        path = environ["PATH_INFO"].encode("latin-1").decode().split("/")
        if environ["REQUEST_METHOD"] == "POST" and path[1::2] == ["orders", "parcels"]:
            length = int(environ.get("CONTENT_LENGTH") or 0)
            parcel = json.loads(environ["wsgi.input"].read(length))
            asked_for = path[2], path[4], parcel["amount"], parcel["currency"]
    except (ValueError, LookupError, TypeError):
        status, told = "400 Bad Request", {"detail": 'send {"amount": "60.00", "currency": "EUR"}'}
    if asked_for:
        status, told = ship(*asked_for)
    body = json.dumps(told).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    start_response(status, headers)
    return [body]

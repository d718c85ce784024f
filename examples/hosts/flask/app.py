"""A shop in Flask: `gunicorn app:app`.

POST /orders/ORDER_ID/parcels/NAME with {"amount": "60.00", "currency": "EUR"} captures a parcel
that ships. It may be called as often as you like: the same parcel is captured once.
"""

from typing import Any

import takings
from flask import Flask, request

app = Flask(__name__)
# The module has a client: each process that is forked from this one opens
# connections of its own.
klarna = takings.Client.from_env()


@app.post("/orders/<order_id>/parcels/<name>")
def ship(order_id: str, name: str) -> tuple[dict[str, str], int]:
    parcel: dict[str, Any] = request.get_json()
    capture = klarna.capture(
        order_id,
        captured_amount=takings.minor(parcel["amount"], parcel["currency"]),
        reference=name,
        idempotency_key=takings.idempotency_key(order_id, name),
    )
    return {"capture_id": capture.capture_id}, 200


@app.errorhandler(takings.TakingsError)
def told(error: takings.TakingsError) -> tuple[dict[str, str], int]:
    if isinstance(error, takings.InvalidInput):
        return {"detail": str(error)}, 400
    # 503: not known, or not now; the same request again settles it
    return {"detail": str(error)}, 503 if error.retryable else 409

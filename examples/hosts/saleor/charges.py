"""A Saleor app that captures at Klarna: `gunicorn charges:app`, and
`python charges.py` each minute.

Saleor asks for a charge with TRANSACTION_CHARGE_REQUESTED. The web server stores
it and answers; the job captures and reports. A charge stays stored until Saleor
has its result, and each call for it has the same key. So it is captured once,
whatever happens in between.
"""

import json
import logging
import os
import sqlite3
import time
import urllib.parse
import urllib.request
from decimal import Decimal
from typing import Any

import jwt
import takings
from flask import Flask, request

# such as https://shop.example/graphql/
API = os.environ["SALEOR_API_URL"]
# the app's own token, with the permission HANDLE_PAYMENTS
TOKEN = os.environ["SALEOR_TOKEN"]
# the file that the web server and the job share
CHARGES = os.environ.get("CHARGES", "charges.sqlite")

app = Flask(__name__)
# Ids of Saleor's events are unique, so a capture can be found by its reference.
klarna = takings.Client.from_env(reconcile=True)
keys = jwt.PyJWKClient(urllib.parse.urljoin(API, "/.well-known/jwks.json"))

REPORT = """
mutation ($id: ID!, $type: TransactionEventTypeEnum!, $amount: PositiveDecimal!,
          $pspReference: String!, $message: String) {
  transactionEventReport(id: $id, type: $type, amount: $amount,
                         pspReference: $pspReference, message: $message) {
    alreadyProcessed
    errors { field code message }
  }
}
"""


def charges() -> sqlite3.Connection:
    connection = sqlite3.connect(CHARGES)
    connection.row_factory = sqlite3.Row
    connection.execute(
        "CREATE TABLE IF NOT EXISTS charge (event TEXT PRIMARY KEY, tx TEXT, order_id TEXT,"
        " amount TEXT, minor INTEGER, since REAL, result TEXT, message TEXT)"
    )
    return connection


def is_from_saleor(body: bytes, signature: str) -> bool:
    """Whether Saleor signed these bytes, which are the body as it came."""
    try:
        key = keys.get_signing_key(jwt.get_unverified_header(signature)["kid"])
        jwt.PyJWS().decode(signature, key.key, algorithms=["RS256"], detached_payload=body)
    except (jwt.PyJWTError, KeyError):
        return False
    return True


@app.post("/charge")
def charge() -> tuple[dict[str, str], int]:
    """TRANSACTION_CHARGE_REQUESTED, with the query of charge.graphql."""
    body = request.get_data()
    if not is_from_saleor(body, request.headers.get("Saleor-Signature", "")):
        return {"error": "Saleor-Signature does not match"}, 401
    asked = json.loads(body, parse_float=Decimal)
    action, tx = asked["action"], asked["transaction"]
    # Saleor stores the request before it asks, so the last one is this one.
    event = [event["id"] for event in tx["events"] if event["type"] == "CHARGE_REQUEST"][-1]
    amount, order_id = Decimal(action["amount"]), tx["pspReference"]
    minor = takings.minor(amount, action["currency"])
    key = takings.idempotency_key(order_id, event)
    with charges() as connection:
        # A request that Saleor repeats is there already.
        connection.execute(
            "INSERT OR IGNORE INTO charge VALUES (?, ?, ?, ?, ?, ?, NULL, NULL)",
            (event, tx["id"], order_id, str(amount), minor, time.time()),
        )
    # Without a result Saleor waits for the report, under this reference.
    return {"pspReference": key}, 200


def settle() -> None:
    """The job: captures what is stored, and reports each result that is certain."""
    with charges() as connection:
        stored = connection.execute("SELECT * FROM charge ORDER BY since").fetchall()
    for row in stored:
        try:
            result, message = row["result"], row["message"]
            if not result:
                result, message = capture(row)
                with charges() as connection:
                    connection.execute(
                        "UPDATE charge SET result = ?, message = ? WHERE event = ?",
                        (result, message, row["event"]),
                    )
            if result:
                report(row, result, message)
                with charges() as connection:
                    connection.execute("DELETE FROM charge WHERE event = ?", (row["event"],))
        except Exception:
            logging.exception("charge %s stays stored", row["event"])


def capture(row: sqlite3.Row) -> tuple[str | None, str]:
    """The result for Saleor, or none as long as nobody knows."""
    try:
        captured = klarna.capture(
            row["order_id"],
            captured_amount=row["minor"],
            reference=row["event"],
            idempotency_key=takings.idempotency_key(row["order_id"], row["event"]),
            first_used=row["since"],
        )
    except takings.Rejected as error:
        return (None if error.retryable else "CHARGE_FAILURE"), str(error)
    except takings.TakingsError as error:
        # An error that is not retryable needs a person, who finds it in the
        # log.
        logging.log(logging.WARNING if error.retryable else logging.ERROR, "%s", error)
        return None, str(error)
    return "CHARGE_SUCCESS", f"captured as {captured.capture_id}"


def report(row: sqlite3.Row, result: str, message: str) -> None:
    variables = {
        "id": row["tx"],
        "type": result,
        "amount": row["amount"],
        "pspReference": takings.idempotency_key(row["order_id"], row["event"]),
        "message": message[:512],
    }
    asked = urllib.request.Request(
        API,
        json.dumps({"query": REPORT, "variables": variables}).encode(),
        {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"},
    )
    with urllib.request.urlopen(asked, timeout=20) as answer:
        told: dict[str, Any] = json.load(answer)
    data: dict[str, Any] = told.get("data") or {}
    reported = data.get("transactionEventReport")
    if not reported or reported["errors"]:
        raise RuntimeError(f"Saleor did not take the report: {told}")


if __name__ == "__main__":
    settle()

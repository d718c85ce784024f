"""A shop behind gunicorn --preload: its client is made and used before the workers are.

POST /ORDER/KEY captures 1 of the order. Every outcome goes into the file OUTCOMES, too.
"""

import json
import os
from typing import Any

import takings

client = takings.Client("sandbox", "sandbox", base_url=os.environ["BASE_URL"], backoff=0.01)
client.capture(os.environ["FIRST_ORDER"], captured_amount=1)


def note(**outcome: Any) -> bytes:
    line = json.dumps({"process": os.getpid(), **outcome}).encode()
    file = os.open(os.environ["OUTCOMES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, line + b"\n")
    os.close(file)
    return line


def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    _, order_id, key = environ["PATH_INFO"].split("/")
    try:
        capture = client.capture(order_id, captured_amount=1, idempotency_key=key)
        body = note(order_id=order_id, key=key, kind="capture", capture_id=capture.capture_id)
    except takings.TakingsError as error:
        body = note(order_id=order_id, key=key, kind=error.kind, message=error.message)
    except BaseException as stopped:
        # the worker has to stop at once
        cause = stopped.__cause__
        if isinstance(cause, takings.OutcomeUnknown):
            note(order_id=order_id, key=cause.idempotency_key, kind=cause.kind)
        raise
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]

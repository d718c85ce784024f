"""A shop's jobs in celery's prefork pool: its client is made and used before the fork."""

import json
import os
from typing import Any

import broker
import takings
from celery import Celery

app = Celery("jobs", broker=broker.URL)
app.conf.broker_transport_options = json.loads(os.environ["BROKER"])
client = takings.Client("sandbox", "sandbox", base_url=os.environ["BASE_URL"], backoff=0.01)
client.capture(os.environ["FIRST_ORDER"], captured_amount=1)


@app.task(name="capture", bind=True, max_retries=10, default_retry_delay=0.05)
def capture(self: Any, order_id: str, key: str) -> None:
    try:
        made = client.capture(order_id, captured_amount=1, idempotency_key=key)
    except (takings.NotSent, takings.OutcomeUnknown) as error:
        raise self.retry(exc=error) from error
    outcome = {
        "process": os.getpid(),
        "order_id": order_id,
        "key": key,
        "kind": "capture",
        "capture_id": made.capture_id,
    }
    file = os.open(os.environ["OUTCOMES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, json.dumps(outcome).encode() + b"\n")
    os.close(file)

"""A shop's jobs, in celery's prefork pool: `celery -A jobs worker`.

`ship.delay(order_id, "parcel-1", "60.00", "EUR")` captures a parcel that ships. A job that is done
again, after a crash or by mistake, captures it once. The broker is named in celeryconfig.py.

Whom to call and as whom comes from the environment: see `takings.Client.from_env`.
"""

from typing import Any

import takings
from celery import Celery, Task

app = Celery("shop")
app.config_from_object("celeryconfig")
# Made before the pool is forked: each of its processes opens connections of its own.
klarna = takings.Client.from_env()


# acks_late: a job whose process is killed is done again. For a day Klarna knows its key.
@app.task(name="ship", bind=True, acks_late=True, max_retries=100, default_retry_delay=1)
def ship(self: "Task[Any, Any]", order_id: str, name: str, amount: str, currency: str) -> str:
    try:
        capture = klarna.capture(
            order_id,
            captured_amount=takings.minor(amount, currency),
            reference=name,
            idempotency_key=takings.idempotency_key(order_id, name),
        )
    except takings.TakingsError as error:
        if not error.retryable:
            raise
        # not known, or not now: the same job again, with the same key, settles it
        raise self.retry(exc=error) from error
    return capture.capture_id

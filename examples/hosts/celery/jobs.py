"""A shop's jobs, in celery's prefork pool: `celery -A jobs worker`.

`ship.delay(order_id, "parcel-1", "60.00", "EUR")` captures a parcel that ships. A job that is done
again, after a crash or by mistake, captures it once. The broker is named in celeryconfig.py.

The address and the account come from the environment: see `takings.Client.from_env`.
"""

import time
from typing import Any

import takings
from celery import Celery, Task

app = Celery("shop")
app.config_from_object("celeryconfig")
# Made before the pool is forked: each of its processes opens connections of its
# own.
klarna = takings.Client.from_env()


# A job whose worker or process is killed is done again.
@app.task(name="ship", bind=True, acks_late=True, reject_on_worker_lost=True, max_retries=None)
def ship(
    self: "Task[Any, Any]",
    order_id: str,
    name: str,
    amount: str,
    currency: str,
    since: float | None = None,
) -> str:
    since = since or time.time()
    try:
        capture = klarna.capture(
            order_id,
            captured_amount=takings.minor(amount, currency),
            reference=name,
            idempotency_key=takings.idempotency_key(order_id, name),
        )
    except takings.TakingsError as error:
        # Klarna knows the key for a day. After that a person has to check the
        # order.
        if not error.retryable or time.time() - since > 23 * 3600:
            raise
        # the same job again, with the same key, settles it; after 1, 2, 4 ...
        # 600 seconds
        pause = min(2**self.request.retries, 600)
        raise self.retry(exc=error, countdown=pause, kwargs={"since": since}) from error
    return capture.capture_id

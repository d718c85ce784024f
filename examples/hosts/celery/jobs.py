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


# A job whose worker or process is killed is done again. What is not known, or not now, is asked
# again after 1, 2, 4 … 600 seconds, in all for a day: so long does Klarna know its key.
@app.task(name="ship", bind=True, acks_late=True, reject_on_worker_lost=True, max_retries=150)
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
        # the same job again, with the same key, settles it
        pause = min(2**self.request.retries, 600)
        raise self.retry(exc=error, countdown=pause) from error
    return capture.capture_id

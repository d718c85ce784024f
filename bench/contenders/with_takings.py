"""Captures with takings."""

import takings
from common import CREDENTIALS, Task

task = Task.from_arguments()
with takings.Client(*CREDENTIALS, base_url=task.url, ca_file=task.ca_file) as client:
    task.run(lambda: client.capture(task.order_id, task.request).capture_id)

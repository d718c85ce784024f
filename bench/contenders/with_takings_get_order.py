"""Reads an order with takings, and all lines of it."""

import takings
from common import CREDENTIALS, Task, counted

task = Task.from_arguments()
with takings.Client(*CREDENTIALS, base_url=task.url, ca_file=task.ca_file) as client:

    def read() -> str:
        order = client.get_order(task.order_id)
        return counted(order.order_lines, [one.order_lines for one in order.captures])

    task.run(read)

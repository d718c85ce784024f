"""Reads an order with requests and json, and all lines of it."""

import requests
from common import AUTHORIZATION, Task, counted

task = Task.from_arguments()
session = requests.Session()
session.trust_env = False
session.verify = task.ca_file


def read() -> str:
    answer = session.get(
        task.order_url,
        headers={"Accept": "application/json", "Authorization": AUTHORIZATION},
        timeout=10,
        allow_redirects=False,
    )
    answer.raise_for_status()
    order = answer.json()
    return counted(order["order_lines"], [one["order_lines"] for one in order["captures"]])


task.run(read)

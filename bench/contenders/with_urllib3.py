"""Captures with urllib3: one pool for all threads."""

import urllib3
from common import AUTHORIZATION, Task, checked, headers

task = Task.from_arguments()
pool = urllib3.connection_from_url(
    task.url,
    maxsize=task.concurrency,
    **({"ca_certs": task.ca_file} if task.url.startswith("https") else {}),
)
path = task.captures_url.split("/", 3)[3]


def capture() -> str:
    answer = pool.request(
        "POST",
        f"/{path}",
        body=task.body(),
        headers=headers(AUTHORIZATION),
        timeout=10,
        redirect=False,
        retries=False,
    )
    return checked(answer.status, answer.headers.get("Capture-Id"))


task.run(capture)

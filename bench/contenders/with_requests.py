"""Captures with requests: a session in each thread, which does not look at the environment."""

import threading

import requests
from common import AUTHORIZATION, Task, checked, headers

task = Task.from_arguments()
local = threading.local()


def session() -> requests.Session:
    if not hasattr(local, "session"):
        local.session = requests.Session()
        local.session.trust_env = False
        local.session.verify = task.ca_file
    made: requests.Session = local.session
    return made


def capture() -> str:
    answer = session().post(
        task.captures_url,
        data=task.body(),
        headers=headers(AUTHORIZATION),
        timeout=10,
        allow_redirects=False,
    )
    return checked(answer.status_code, answer.headers.get("Capture-Id"))


task.run(capture)

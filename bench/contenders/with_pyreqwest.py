"""Captures with pyreqwest: its client one after another, its asynchronous one many at once."""

import asyncio
from pathlib import Path

from common import AUTHORIZATION, Task, checked, headers
from pyreqwest.client import ClientBuilder, SyncClientBuilder

task = Task.from_arguments()
authority = Path(task.ca_file).read_bytes()


def one_after_another() -> None:
    builder = SyncClientBuilder().no_proxy().add_root_certificate_pem(authority)
    with builder.build() as client:

        def capture() -> str:
            request = client.post(task.captures_url).headers(headers(AUTHORIZATION))
            answer = request.body_bytes(task.body()).build().send()
            return checked(answer.status, answer.headers.get("Capture-Id"))

        task.run(capture)


async def many_at_once() -> None:
    builder = ClientBuilder().no_proxy().add_root_certificate_pem(authority)
    async with builder.build() as client:

        async def capture() -> str:
            request = client.post(task.captures_url).headers(headers(AUTHORIZATION))
            answer = await request.body_bytes(task.body()).build().send()
            return checked(answer.status, answer.headers.get("Capture-Id"))

        await task.arun(capture)


if task.concurrency == 1:
    one_after_another()
else:
    asyncio.run(many_at_once())

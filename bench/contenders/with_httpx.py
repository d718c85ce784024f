"""Captures with httpx: its client one after another, its asynchronous one many at once."""

import asyncio
import ssl

import httpx
from common import AUTHORIZATION, Task, checked, headers

task = Task.from_arguments()
verify = ssl.create_default_context(cafile=task.ca_file) if task.url.startswith("https") else True


def settle(answer: httpx.Response) -> str:
    return checked(answer.status_code, answer.headers.get("Capture-Id"))


def one_after_another() -> None:
    with httpx.Client(verify=verify, trust_env=False, timeout=10) as client:
        task.run(
            lambda: settle(
                client.post(task.captures_url, content=task.body(), headers=headers(AUTHORIZATION))
            )
        )


async def many_at_once() -> None:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(
        verify=verify, trust_env=False, timeout=10, limits=limits
    ) as client:

        async def capture() -> str:
            return settle(
                await client.post(
                    task.captures_url, content=task.body(), headers=headers(AUTHORIZATION)
                )
            )

        await task.arun(capture)


if task.concurrency == 1:
    one_after_another()
else:
    asyncio.run(many_at_once())

"""Captures with takings' client for asyncio."""

import asyncio

import takings
from common import CREDENTIALS, Task

task = Task.from_arguments()


async def main() -> None:
    async with takings.AsyncClient(
        *CREDENTIALS, base_url=task.url, ca_file=task.ca_file, max_concurrency=task.concurrency
    ) as client:

        async def capture() -> str:
            return (await client.capture(task.order_id, task.request)).capture_id

        await task.arun(capture)


asyncio.run(main())

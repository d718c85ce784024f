"""Captures with aiohttp."""

import asyncio
import ssl

import aiohttp
from common import AUTHORIZATION, Task, checked, headers

task = Task.from_arguments()


async def main() -> None:
    tls = ssl.create_default_context(cafile=task.ca_file) if "https" in task.url else True
    connector = aiohttp.TCPConnector(limit=0, ssl=tls)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def capture() -> str:
            async with session.post(
                task.captures_url,
                data=task.body(),
                headers=headers(AUTHORIZATION),
                allow_redirects=False,
            ) as answer:
                await answer.read()
                return checked(answer.status, answer.headers.get("Capture-Id"))

        await task.arun(capture)


asyncio.run(main())

"""The conformance suite's way into Python: JSON lines in, takings' calls, JSON lines out.

A plain program over the installed package, as a shop would use it: dicts to `Client.capture`,
settings as keywords. Its argument says what calls and what sends: nothing (`Client`), `async`
(`AsyncClient`), and with a program's own HTTP client `httpx`, `requests` and `httpx-async`.
"""

import asyncio
import json
import re
import ssl
import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from functools import cache
from typing import Any, cast

import takings

way = sys.argv[1] if len(sys.argv) > 1 else ""
loop = asyncio.new_event_loop()


def settings_of(config: dict[str, Any]) -> dict[str, Any]:
    """The suite's times are in milliseconds; Python's are seconds, without the suffix."""
    settings: dict[str, Any] = {}
    for name, value in config.items():
        is_time = name.endswith("_ms") and isinstance(value, int) and not isinstance(value, bool)
        settings[name.removesuffix("_ms")] = value / 1000 if is_time else value
    return settings


# Reading all the machine's authorities takes longer than a case; each `ca_file` is new anyway.
@cache
def context_of(ca_file: str | None) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca_file)


def client_of(config: dict[str, Any]) -> takings.Client | takings.AsyncClient:
    settings = settings_of(config)
    if way == "":
        return takings.Client(**settings)
    if way == "async":
        return takings.AsyncClient(**settings)
    # these are the HTTP client's
    ca_file, proxy = settings.pop("ca_file", None), settings.pop("proxy", None)
    # trust_env: the suite must not use the proxies of the machine.
    if way == "requests":
        import requests

        session = requests.Session()
        session.trust_env = False
        session.verify = ca_file or True
        if proxy:
            session.proxies = {"https": proxy}
        return takings.Client(transport=session, **settings)
    import httpx

    trust = context_of(ca_file)
    if way == "httpx":
        sync = httpx.Client(verify=trust, proxy=proxy, trust_env=False)
        return takings.Client(transport=sync, **settings)
    on_loop = httpx.AsyncClient(verify=trust, proxy=proxy, trust_env=False)
    return takings.AsyncClient(transport=on_loop, **settings)


def fields_of(reply: object) -> dict[str, Any]:
    names = (name for name in dir(reply) if not name.startswith("_"))
    return {name: getattr(reply, name) for name in names if name != "attempt_log"}


def shown(value: object) -> object:
    """A value of a document as JSON has it."""
    return value.isoformat() if isinstance(value, datetime) else fields_of(value)


def error_of(error: takings.TakingsError) -> dict[str, Any]:
    fields = {name: field for name, field in vars(error).items() if name != "attempt_log"}
    return {"kind": error.kind, **fields}


def call(method: Callable[..., Any], *arguments: Any, **fields: Any) -> Any:
    outcome = method(*arguments, **fields)
    return loop.run_until_complete(outcome) if asyncio.iscoroutine(outcome) else outcome


def request_of(task: dict[str, Any]) -> Any:
    text = task.get("request_text")
    request: Any = task["request"] if text is None else json.loads(text)
    return settings_of(cast("dict[str, Any]", request)) if isinstance(request, dict) else request


def row_of(operation: Any, style: str, order_id: str, request: Any) -> dict[str, Any]:
    intent: takings.Intent = takings.intent(order_id, request, operation=operation)
    sql, values = intent.insert(style)
    names: list[str] = re.findall(r":(\w+)", sql)
    listed = [values[name] for name in names] if names else list(values)
    return {"row": asdict(cast("Any", intent)), "sql": sql, "values": listed}


def main() -> None:
    client: takings.Client | takings.AsyncClient | None = None
    for line in sys.stdin:
        task: dict[str, Any] = json.loads(line)
        if "quit" in task:
            break
        try:
            if "derive" in task:
                answer: dict[str, Any] = {"key": takings.idempotency_key(*task["derive"])}
            elif "intent" in task:
                operation, style = task["intent"]
                answer = {"intent": row_of(operation, style, task["order_id"], request_of(task))}
            else:
                if "config_text" in task:
                    task["config"] = json.loads(task["config_text"])
                if "config" in task:
                    client = client_of(task["config"])
                assert client is not None, "the first task names the config"
                if "options" in task:
                    client = client.with_options(**settings_of(task["options"]))
                    print(json.dumps({"options": {}}), flush=True)
                    continue
                if "reconcile" in task:
                    found = call(client.reconcile, task["order_id"], **task["reconcile"])
                    answer = {"reconciliation": fields_of(found)}
                elif "check" in task:
                    order: takings.Order = call(client.get_order, task["order_id"])
                    check: Any = getattr(order, f"check_{task['check']}")
                    answer = {"check": {"reasons": check(request_of(task))}}
                else:
                    request = request_of(task)
                    key = task.get("idempotency_key")
                    if operation := task.get("operation"):
                        reply = call(
                            client.call, operation, task["order_id"], request, idempotency_key=key
                        )
                        answer = {"reply": {"operation": operation, **fields_of(reply)}}
                        print(json.dumps(answer, default=shown), flush=True)
                        continue
                    made = call(client.capture, task["order_id"], request, idempotency_key=key)
                    answer = {"capture": fields_of(made)}
        except takings.TakingsError as error:
            answer = {"error": error_of(error)}
        print(json.dumps(answer), flush=True)


main()

"""The conformance suite's way into Python: JSON lines in, `takings.Client` calls, JSON lines out.

A plain program over the installed package, as a shop would use it: dicts to `Client.capture`,
settings as keywords.
"""

import json
import sys
from dataclasses import asdict
from typing import Any

import takings


def client_of(config: dict[str, Any]) -> takings.Client:
    """The suite's settings are in milliseconds; Python's are seconds, without the suffix."""
    settings: dict[str, Any] = {}
    for name, value in config.items():
        is_time = name.endswith("_ms") and isinstance(value, int) and not isinstance(value, bool)
        settings[name.removesuffix("_ms")] = value / 1000 if is_time else value
    return takings.Client(**settings)


def answer_of(error: takings.TakingsError) -> dict[str, Any]:
    return {
        "error": {
            "kind": error.kind,
            "message": error.message,
            "http_status": error.http_status,
            "error_code": error.error_code,
            "error_messages": error.error_messages,
            "correlation_id": error.correlation_id,
            "order_id": error.order_id,
            "idempotency_key": error.idempotency_key,
            "attempts": error.attempts,
            "retryable": error.retryable,
        }
    }


def main() -> None:
    client: takings.Client | None = None
    for line in sys.stdin:
        task: dict[str, Any] = json.loads(line)
        if "quit" in task:
            break
        try:
            if "derive" in task:
                answer: dict[str, Any] = {"key": takings.idempotency_key(*task["derive"])}
            else:
                if "config_text" in task:
                    task["config"] = json.loads(task["config_text"])
                if "config" in task:
                    client = client_of(task["config"])
                assert client is not None, "the first task names the config"
                if "reconcile" in task:
                    found = client.reconcile(task["order_id"], **task["reconcile"])
                    told = {**asdict(found), "capture_id": found.capture_id}
                    print(json.dumps({"reconciliation": told}), flush=True)
                    continue
                text = task.get("request_text")
                request = task["request"] if text is None else json.loads(text)
                key = task.get("idempotency_key")
                capture = client.capture(task["order_id"], request, idempotency_key=key)
                answer = {"capture": asdict(capture)}
        except takings.TakingsError as error:
            answer = answer_of(error)
        print(json.dumps(answer), flush=True)


main()

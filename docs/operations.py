"""The pages about operations: the parts that follow from the core's table of operations.

A page of `docs/operations` takes them in by a link that ends in `<!-- table: PART -->`. The page of
another name says whose part: `<!-- table: PART OPERATION -->`. The parts are:

* `summary`: what the operation does, and the request that is sent
* `arguments`: its arguments with their limits
* `reply`: the fields of its reply
* `key`: how its key is derived
* `reference`: where each language's reference has it
* `objects`: the objects that arguments are made of
* `list`: the operations named, each with a line
"""

from __future__ import annotations

import functools
import json
import re
import subprocess
from pathlib import Path, PurePosixPath
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

# Each operation's own word in the derivation of keys. A test derives a key with each.
KEY_WORDS = {
    "acknowledge": "acknowledge",
    "append_order_shipping_info": "order-shipping-info",
    "append_shipping_info": "capture-shipping-info",
    "cancel": "cancel",
    "capture": "captures",
    "extend_authorization_time": "extend-authorization-time",
    "extend_due_date": "extend-due-date",
    "refund": "refunds",
    "release_remaining_authorization": "release-remaining-authorization",
    "trigger_send_out": "trigger-send-out",
    "update_authorization": "update-authorization",
    "update_customer_details": "update-customer-details",
    "update_merchant_references": "update-merchant-references",
}
OBJECTS = ["OrderLine", "ShippingInfo", "Address", "ProductIdentifiers", "Subscription"]
ORDER = "/ordermanagement/v1/orders/{order_id}"


@functools.cache
def schema() -> dict[str, Any]:
    """The core's description of itself, as scripts/generate.py reads it."""
    command = ["cargo", "run", "--quiet", "--locked", "--example", "schema"]
    ended = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    described: dict[str, Any] = json.loads(ended.stdout)
    return described


@functools.cache
def table() -> dict[str, dict[str, Any]]:
    return {operation["name"]: operation for operation in schema()["operations"]}


def part(page: str, wanted: str, names: list[str]) -> str:
    """A part of a page, as Markdown with links of the site."""
    if wanted == "objects":
        text = objects()
    elif wanted == "list":
        text = listing(names)
    else:
        [name] = names or [PurePosixPath(page).stem]
        makers = {
            "summary": summary,
            "arguments": arguments,
            "reply": reply,
            "key": key,
            "reference": references,
        }
        text = makers[wanted](table()[name])
    return text.replace("(~/", "(" + "../" * page.count("/"))


def one_line(doc: str) -> str:
    """Documentation of the core as a line of Markdown, in a cell of a table or outside."""
    text = re.sub(r"\s+", " ", doc).strip()
    return text.replace("|", "\\|")


def summary(operation: dict[str, Any]) -> str:
    return f"{one_line(operation['doc'])}\n\n`{operation['method']} {ORDER}{operation['path']}`\n"


def limits(kind: dict[str, Any]) -> str:
    """The type of a field and its limits, in words."""
    match kind["kind"]:
        case "integer":
            least, most = kind["min"], kind["max"]
            if least < -(2**53):
                return f"integer, at most {most:,}"
            return (
                f"integer, {least:,} or more" if most > 2**53 else f"integer, {least:,} to {most:,}"
            )
        case "text":
            least = "1 to" if kind["min"] else "at most"
            return f"text, {least} {kind['max']:,} characters"
        case "boolean":
            return "true or false"
        case "word":
            words = schema()["words"][kind["name"]]["words"]
            return "one of " + ", ".join(f"`{word['word']}`" for word in words)
        case "list":
            return f"list of at most {kind['max']:,} {linked(kind['of']['name'], several=True)}"
        case "object":
            return linked(kind["name"])
        case other:
            raise AssertionError(f"a field of the kind {other}")


NOUNS = {
    "OrderLine": ("order line", "order lines"),
    "ShippingInfo": ("shipping info", "shipping infos"),
    "Address": ("address", "addresses"),
    "ProductIdentifiers": ("product identifiers", "product identifiers"),
    "Subscription": ("subscription", "subscriptions"),
}


def linked(name: str, several: bool = False) -> str:
    anchor = NOUNS[name][0].replace(" ", "-")
    return f"[{NOUNS[name][several]}](~/operations/objects.md#{anchor})"


def fields(names: list[dict[str, Any]]) -> list[str]:
    rows = []
    for field in names:
        must = " (required)" if field["required"] else ""
        rows.append(
            f"| `{field['name']}`{must} | {limits(field['type'])} | {one_line(field['doc'])} |"
        )
    return rows


def arguments(operation: dict[str, Any]) -> str:
    rows = [
        "| argument | type | |",
        "|---|---|---|",
        "| `order_id` (required) | text, 1 to 255 characters | Klarna's id of the order, as it is: "
        "takings encodes it for the path. |",
        *fields(schema()["objects"][operation["arguments"]]["fields"]),
    ]
    if operation["takes_key"]:
        rows.append(
            "| `idempotency_key` | text, 1 to 255 characters | Which call this is: "
            "[its key](#its-key). Without one takings makes a key for this call and its retries. |"
        )
        rows.append(
            "| `first_use`, `first_used` | true or false; a time | What you know of "
            "[the first use](~/idempotency.md#the-first-use) of a key that you give. |"
        )
    rows.append(
        "| `timeout`, `max_attempts` | a time (in Lua and C `timeout_ms`); 1 to 20 | "
        "[The limits of this call](~/configuration.md#less-time-for-a-call), in place of the "
        "client's. |"
    )
    if operation["looks_first"]:
        rows.append(
            "| `look_first` | true or false | Whether the order is searched for its reference and "
            "amount before it is made. Found once, that is the result, with a warning. It costs a "
            "request, and holds after the 24 hours of a key too. |"
        )
    return "\n".join(rows) + "\n"


def reply(operation: dict[str, Any]) -> str:
    [record] = [each for each in schema()["records"] if each["name"] == operation["reply"]]
    rows = ["| field | |", "|---|---|"]
    for field in record["fields"]:
        maybe = ", or nothing" if field["optional"] else ""
        rows.append(f"| `{field['name']}`{maybe} | {one_line(field['doc'])} |")
    for field in schema()["documents"].get(record["name"], {"fields": []})["fields"]:
        doc, of = one_line(field["doc"]), field["type"]
        if words := of.get("words"):
            doc += f" Known are {', '.join(f'`{word}`' for word in words)}."
        maybe = "" if of["kind"] in ("list", "documents") else ", or nothing"
        rows.append(f"| `{field['name']}`{maybe} | {doc} |")
    return "\n".join(rows) + "\n"


def key(operation: dict[str, Any]) -> str:
    name = operation["name"]
    below = "/{capture_id}" if "{capture_id}" in operation["path"] else ""
    more = ""
    if name != "capture":
        more = f', operation="{name}"'
    if below:
        more += ", capture_id=capture_id"
    word = KEY_WORDS[name]
    return (
        f"The key word is `{word}`: `takings.idempotency_key(order_id, name{more})` is the UUID of "
        f"version 5 of `{word}/{{order_id}}{below}/{{name}}` "
        "([how keys are derived](~/idempotency.md#derive-it)).\n"
    )


def references(operation: dict[str, Any]) -> str:
    name = operation["name"]
    links = [
        f"[Python](~/reference/python.md#client{name})",
        f"[Lua](~/reference/lua.md#client{name})",
        f"[C](~/reference/c.md#takings_client_{name})",
        "[C++](~/reference/cpp.md#client)",
        f"[Rust](~/rust/takings/struct.Client.html#method.{name})",
    ]
    return (
        f"In the reference: {', '.join(links)}. `{operation['prepare']}` makes the same call for a "
        "program that [sends by itself](~/hosts/libcurl.md).\n"
    )


def listing(names: list[str]) -> str:
    rows = ["| operation | |", "|---|---|"]
    for name in names:
        place = "reconcile" if table()[name]["effect"] == "looks" else f"operations/{name}"
        rows.append(f"| [`{name}`](~/{place}.md) | {one_line(table()[name]['doc'])} |")
    return "\n".join(rows) + "\n"


def objects() -> str:
    sections = []
    for name in OBJECTS:
        described = schema()["objects"][name]
        rows = ["| field | type | |", "|---|---|---|", *fields(described["fields"])]
        title = NOUNS[name][0].capitalize()
        sections.append(f"## {title}\n\n" + "\n".join(rows) + "\n")
    return "\n".join(sections)

"""The annotations for editors of the Lua module, `lua/takings.d.lua`.

The prose of `takings.d.lua.in` stands around the types that the core declares.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from faces.c import options_of

Json = dict[str, Any]

TEMPLATE = Path(__file__).with_name("takings.d.lua.in")
WIDTH = 120

# The types of a record's fields in Lua.
RECORD_TYPES = {
    "text": "string",
    "integer": "integer",
    "boolean": "boolean",
    "texts": "string[]",
    "attempts": "takings.attempt[]",
    "time": "number",
    "duration": "integer",
    "error_kind": "takings.error_kind",
    "found": "takings.found",
}


def files(schema: Json) -> dict[str, str]:
    text = TEMPLATE.read_text(encoding="utf-8")
    for name, part in parts(schema).items():
        text = text.replace(f"{{{name}}}", part)
    for name in schema["objects"]:
        text = text.replace(f"`{name}`", f"`{class_name(name)}`")
    return {"lua/takings.d.lua": text}


def parts(schema: Json) -> dict[str, str]:
    objects: Json = schema["objects"]
    operations: list[Json] = schema["operations"]
    settings = objects[schema["settings"]]
    classes: dict[str, list[Json]] = {}
    for operation in operations:
        arguments = objects[operation["arguments"]]
        if operation["takes_key"]:
            classes[arguments["name"]] = arguments["fields"] + options_of(schema, operation)
        classes[schema["client_options"]] = objects[schema["client_options"]]["fields"]
        add_inner(classes, objects, arguments["fields"])
    documents: Json = schema["documents"]
    replies = list(dict.fromkeys(class_name(operation["reply"]) for operation in operations))
    records = [
        record
        for record in schema["records"]
        if class_name(record["name"])
        in [*replies, "takings.intent", "takings.attempt", "takings.error"]
    ]
    words = [*schema["words"].values(), error_kinds(schema)]
    return {
        "settings": "\n".join(map(field, settings["fields"])),
        "words": "\n\n".join(map(alias, words)),
        "objects": "\n\n".join(
            declared(name, objects[name]["doc"], map(field, fields))
            for name, fields in classes.items()
        ),
        "records": "\n\n".join(
            declared(
                record["name"],
                record["doc"],
                [*map(record_field, record["fields"]), *members(documents.get(record["name"]))],
            )
            for record in [
                *(documents[name] | {"fields": []} for name in parts_of(schema)),
                *records,
            ]
        ),
        "operations": union("operation", [operation["name"] for operation in operations]),
        "replies": "|".join(replies),
        "methods": "\n\n".join(
            method for operation in operations for method in methods(operation, objects)
        ),
        "variables": ", ".join(schema["variables"]),
    }


def parts_of(schema: Json) -> list[str]:
    """The objects in documents that are no replies themselves."""
    replies = {operation["reply"] for operation in schema["operations"]}
    return [name for name in schema["documents"] if name not in replies]


def members(document: Json | None) -> list[str]:
    """The members of a document of Klarna's."""
    lines = []
    for each in document["fields"] if document else []:
        kind, name, said = each["type"], each["name"], prose(each["doc"])
        of = class_name(kind["of"]) if kind.get("of") else "string"
        of = "integer" if kind["kind"] == "integer" else of
        if kind["kind"] in ("list", "documents"):
            lines.append(f"---@field {name} {of}[] {said}")
            continue
        if kind["kind"] == "word":
            said += f" Known are {', '.join(kind['words'])}."
        lines.append(f"---@field {name}? {of} {said}")
        if kind["kind"] == "time":
            lines.append(f"---@field {name}_time? number The same in seconds since 1970.")
    return lines


def add_inner(classes: dict[str, list[Json]], objects: Json, fields: list[Json]) -> None:
    """Adds the objects that fields hold, and what those hold."""
    for each in fields:
        kind = each["type"].get("of", each["type"])
        if kind["kind"] == "object" and kind["name"] not in classes:
            inner = objects[kind["name"]]["fields"]
            classes[kind["name"]] = inner
            add_inner(classes, objects, inner)


def error_kinds(schema: Json) -> Json:
    words = [{"word": kind["name"], "doc": kind["doc"]} for kind in schema["error_kinds"]]
    return {"name": "ErrorKind", "doc": "The meaning of an error for the money.", "words": words}


def class_name(name: str) -> str:
    return "takings." + re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def prose(doc: str) -> str:
    """The first paragraph of a doc comment, in one line and without names of Rust."""
    text = " ".join(doc.split("\n\n")[0].split())
    text = re.sub(r"\[(`[^`]+`)\](\([^)]*\))?", r"\1", text)
    return re.sub(r"`\w+::(\w+)`", r"`\1`", text)


def type_of(kind: Json) -> str:
    match kind["kind"]:
        case "integer" | "duration":
            return "integer"
        case "boolean":
            return "boolean"
        case "text" | "secret":
            return "string"
        case "list":
            return f"{type_of(kind['of'])}[]"
        case _:
            return class_name(kind["name"])


def field(of: Json) -> str:
    said = [prose(of["doc"])]
    if of["type"]["kind"] == "duration":
        said.append("In milliseconds.")
    if "default" in of:
        default = of["default"]
        said.append(f"Default {str(default).lower() if isinstance(default, bool) else default}.")
    return f"---@field {name_of(of)} {type_of(of['type'])} {' '.join(said)}"


def name_of(of: Json) -> str:
    return f"{of['name']}{'' if of['required'] else '?'}"


def record_field(of: Json) -> str:
    name, said = of["name"], prose(of["doc"])
    if of["kind"] == "duration":
        name, said = f"{name}_ms", f"{said} In milliseconds."
    elif of["kind"] == "time":
        said = f"{said} Seconds since 1970, with a fraction."
    mark = "?" if of["optional"] else ""
    return f"---@field {name}{mark} {RECORD_TYPES[of['kind']]} {said}"


def declared(name: str, doc: str, fields: Any) -> str:
    return "\n".join([f"---{prose(doc)}", f"---@class {class_name(name)}", *fields])


def union(name: str, words: list[str]) -> str:
    line = f"---@alias takings.{name} " + "|".join(f'"{word}"' for word in words)
    if len(line) <= WIDTH:
        return line
    return "\n".join([f"---@alias takings.{name}", *(f'---| "{word}"' for word in words)])


def alias(of: Json) -> str:
    name = class_name(of["name"]).removeprefix("takings.")
    sentence = prose(of["doc"]).split(". ")[0].rstrip(".")
    if not any(word["doc"] for word in of["words"]):
        lines = [union(name, [word["word"] for word in of["words"]])]
    else:
        words = [f'---| "{word["word"]}" # {prose(word["doc"])}' for word in of["words"]]
        lines = [f"---@alias takings.{name}", *words]
    return "\n".join([f"---{sentence}.", *lines])


def methods(operation: Json, objects: Json) -> list[str]:
    """The method that sends a call, and the one that prepares it."""
    name, reply = operation["name"], class_name(operation["reply"])
    arguments = objects[operation["arguments"]]
    if operation["takes_key"]:
        optional = "" if any(each["required"] for each in arguments["fields"]) else "?"
        names = ["order_id", "request", "idempotency_key"]
        takes = [
            f"---@param request{optional} {class_name(arguments['name'])}",
            "---@param idempotency_key? string the same key for the same call, also after a crash; "
            "nil makes a fresh one",
        ]
    else:
        names = ["order_id", *(each["name"] for each in arguments["fields"]), "options"]
        takes = [
            f"---@param {name_of(each)} {type_of(each['type'])} {prose(each['doc'])}"
            for each in arguments["fields"]
        ]
        takes.append("---@param options? takings.options the limits of this call")
    takes = ["---@param order_id string", *takes]
    written = ", ".join(names)
    word = reply.removeprefix("takings.")
    sends = [
        *(f"---{line}" for line in operation["doc"].split("\n")),
        *takes,
        f"---@return {reply}? {word} nil where it failed, or its outcome is not known",
        "---@return takings.error? err",
        f"function client:{name}({written}) end",
    ]
    prepares = [
        f"---The call of `{name}`, checked, to be sent by an HTTP client of your own.",
        *takes,
        "---@return takings.call? call",
        "---@return takings.error? err",
        f"function client:{operation['prepare']}({written}) end",
    ]
    return ["\n".join(sends), "\n".join(prepares)]

"""The typed half of the C ABI: ffi-c/src/generated.rs, which cbindgen reads for takings.h."""

from __future__ import annotations

import re
import subprocess
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
PATH = "ffi-c/src/generated.rs"

Described = dict[str, Any]

# Where a result is a number, C has this type; a number that is not listed has 32 bits.
NARROW = {"http_status": "u16"}
WIDE = {"captured_amount": "i64", "refunded_amount": "i64"}
# The words of a field of the kind `found`.
FOUND = {
    "once": "Exactly once: this is the capture.",
    "never": "Not when Klarna was asked. A capture whose answer was lost may still be on its way: "
    "capture again with the same key, not with a new one.",
    "several": "More than once: the reference does not tell them apart.",
    "amount_differs": "With another amount alone: a person has to decide.",
}
# The records of functions that need no client, and the operations that those are about.
OFFLINE = ("Check", "Intent")
CHECKED = ("capture", "refund")
SAFETY = "// SAFETY: C strings or NULL, by the header's rules."
ERROR = "error: Option<&mut MaybeUninit<Option<Box<takings_error_t>>>>"


def files(schema: Described) -> dict[str, str]:
    parts = [
        _HEAD,
        _kinds(schema),
        _found(),
        *_clients(schema),
        *_any(),
        *_functions(schema),
        *_keys_and_amounts(),
        *_setters(),
    ]
    for record in records(schema):
        parts.extend(_record(schema, record))
    for operation in schema["operations"]:
        parts.extend(_operation(schema, operation))
    for name in replies(schema):
        parts.append(_result(name))
    parts.extend(_offline())
    return {PATH: formatted("\n\n".join(parts) + "\n")}


def formatted(rust: str) -> str:
    command = ["rustfmt", "--edition", "2024", "--emit", "stdout"]
    ended = subprocess.run(
        command, check=True, input=rust, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    return ended.stdout


# --- what C and C++ share -------------------------------------------------------------------------


def snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def singular(name: str) -> str:
    return name.removesuffix("s")


def replies(schema: Described) -> list[str]:
    """The records that a typed operation ends in, each once."""
    return list(dict.fromkeys(reply_of(schema, operation) for operation in schema["operations"]))


def reply_of(schema: Described, operation: Described) -> str:
    """C has one type for all documents, whose members are read by JSON Pointer."""
    reply: str = operation["reply"]
    return "Document" if reply in schema["documents"] else reply


def records(schema: Described) -> list[Described]:
    named = {record["name"]: record for record in schema["records"]}
    said = (
        "A document of Klarna's. takings_document_at reads its members. Every member may be "
        "absent, and a member of another type than Klarna documents is: a warning names it."
    )
    named["Document"] = {**named["DocumentFacts"], "name": "Document", "doc": said}
    return [named[name] for name in ("Error", *replies(schema), *OFFLINE, "Attempt")]


def flat(schema: Described, operation: Described) -> list[Described] | None:
    """The arguments of an operation of a few plain values; None where it takes a request."""
    fields: list[Described] = schema["objects"][operation["arguments"]]["fields"]
    plain = all(
        field["required"] and field["type"]["kind"] in ("text", "integer") for field in fields
    )
    return fields if plain else None


def options_of(schema: Described, operation: Described) -> list[Described]:
    """The options of a call: some are of its key, and only some calls can be looked for."""
    fields: list[Described] = schema["objects"][schema["options"]]["fields"]
    if not operation["looks_first"]:
        fields = [field for field in fields if field["name"] != "look_first"]
    return fields if operation["takes_key"] else []


def spoken(doc: str) -> str:
    """A text of the schema for readers of C: plain words and ASCII."""
    doc = re.sub(r" \(\[`\w+`\]\([\w:]+\)\)", "", doc)
    doc = re.sub(r"\[?`([^`]*)`\]?(?:\([\w:]+\))?", _unquoted, doc)
    doc = doc.replace("\N{HORIZONTAL ELLIPSIS}", "...").replace("Config::", "")
    return " ".join(doc.replace("....", "...").split())


def _unquoted(code: re.Match[str]) -> str:
    """A piece of code without its marks; with quotes where it is more than a word."""
    return f'"{code[1]}"' if " " in code[1] else code[1]


def words_of(schema: Described, kind: Described) -> list[str]:
    return [word["word"] for word in schema["words"][kind["name"]]["words"]]


def listed(names: Iterable[str], last: str = "and") -> str:
    *before, end = names
    return f"{', '.join(before)} {last} {end}" if before else end


def field_line(schema: Described, field: Described) -> str:
    """The text about a setting or an argument in a list of all of them."""
    kind = field["type"]
    known = f" ({listed(words_of(schema, kind), 'or')})" if kind["kind"] == "word" else ""
    return f"{field['name']}{known}: {' '.join(spoken(field['doc']).split())}"


def about(field: Described) -> str:
    """The text of a field of a record, without the end of its last sentence."""
    return spoken(field["doc"]).removesuffix(".")


# --- Rust -----------------------------------------------------------------------------------------

_HEAD = """//! The typed functions of the C ABI: clients, operations, and getters of results.
//!
//! Generated by scripts/generate.py from the core's declarations; `make bless` writes it.

use std::ffi::c_char;
use std::mem::MaybeUninit;
use std::ptr;

use takings::{Config, Intent, binding};
use zeroize::Zeroizing;

use crate::call::{takings_call_t, typed};
use crate::json::{Value, put, takings_json_t};
use crate::record::{
    Record, attempt_of, count_of, item_of, json_of, number, takings_reply_t, text_of, word_of,
};
use crate::value::takings_value_t;
use crate::{free, given, guard, held, new_client, null, owned, pointer, prepared, \
takings_client_t, text};"""


def doc(*paragraphs: str, indent: str = "") -> str:
    """A doc comment. Lines that begin with a blank are code and stay as they are."""
    lines: list[str] = []
    for paragraph in paragraphs:
        lines += [""] if lines else []
        if paragraph.startswith("    "):
            lines += paragraph.split("\n")
        elif paragraph.startswith("- "):
            for item in paragraph.split("\n"):
                lines += textwrap.wrap(item, 94, subsequent_indent="  ", break_on_hyphens=False)
        else:
            lines += textwrap.wrap(paragraph, 94, break_on_hyphens=False, break_long_words=False)
    return "\n".join(f"{indent}/// {line}".rstrip() for line in lines)


def _function(
    name: str, said: str, parameters: Iterable[str], gives: str, body: str, unsafe: bool = False
) -> str:
    returns = f" -> {gives}" if gives else ""
    word = "unsafe " if unsafe else ""
    return (
        f'{said}\n#[unsafe(no_mangle)]\npub {word}extern "C" fn {name}'
        f"({', '.join(parameters)}){returns} {{\n{body}\n}}"
    )


def _enum(name: str, said: str, members: dict[str, str]) -> str:
    """An enum whose numbers count up from 0."""
    lines = [
        f"{doc(text)}\n{member} = {number},"
        for number, (member, text) in enumerate(members.items())
    ]
    return (
        f"{doc(said)}\n#[repr(C)]\n#[derive(Clone, Copy, Debug, PartialEq, Eq)]\n"
        f"pub enum {name} {{\n"
        f"{chr(10).join(lines)}\n}}\nuse {name}::*;"
    )


def _kinds(schema: Described) -> str:
    names = [kind["name"] for kind in schema["error_kinds"]]
    members = {"TAKINGS_ERROR_NONE": "There is no error: the kind of NULL."}
    for kind in schema["error_kinds"]:
        said = spoken(kind["doc"])
        for name in names:
            said = re.sub(rf"\b{name}\b", constant(name), said)
        members[constant(kind["name"])] = said
    said = (
        "The meaning of an error for the money, and so for the next step. A later version may add "
        "kinds: treat one you do not know as TAKINGS_ERROR_OUTCOME_UNKNOWN."
    )
    return _enum("takings_error_kind_t", said, members)


def _found() -> str:
    members = {"TAKINGS_FOUND_NOTHING": "No query was made: the result for NULL."}
    members |= {f"TAKINGS_FOUND_{word.upper()}": said for word, said in FOUND.items()}
    return _enum("takings_found_t", "How often a capture was found.", members)


def constant(kind: str) -> str:
    return f"TAKINGS_ERROR_{kind.upper()}"


def _clients(schema: Described) -> Iterator[str]:
    settings = schema["objects"][schema["settings"]]["fields"]
    yield _function(
        "takings_client_new",
        doc(
            "Makes a client from its settings, a JSON object such as",
            '    {"environment": "playground", "username": "PK0000_0a1b2c", "password": "..."}',
            "No connection is made and no thread is started before the first call. The settings:",
            "\n".join(f"- {field_line(schema, field)}" for field in settings),
            "Returns a client for takings_client_free, or NULL and an error (invalid_input).",
        ),
        ["config_json: *const c_char", ERROR],
        "Option<Box<takings_client_t>>",
        """guard(error, || {
            // SAFETY: a C string or NULL, by the header's rules.
            let config = unsafe { text("config_json", config_json) }?;
            held(new_client(Config::from_json(config)?)?)
        })""",
        unsafe=True,
    )
    yield _function(
        "takings_client_from_env",
        doc(
            f"Makes a client from the environment variables {listed(schema['variables'])}, as far "
            "as they are set. An empty variable counts as absent. No other thread may change the "
            "environment meanwhile.",
            "config_json holds settings that count before the environment, as takings_client_new "
            'takes them, such as {"timeout_ms": 10000}; NULL for none.',
            "Returns a client for takings_client_free, or NULL and an error (invalid_input).",
        ),
        ["config_json: *const c_char", ERROR],
        "Option<Box<takings_client_t>>",
        """guard(error, || {
            // SAFETY: a C string or NULL, by the header's rules.
            let text = unsafe { text("config_json", config_json) };
            let settings = (!config_json.is_null()).then_some(text).transpose()?;
            held(new_client(Config::from_env_with_json(settings)?)?)
        })""",
        unsafe=True,
    )
    options = schema["objects"][schema["client_options"]]["fields"]
    yield _function(
        "takings_client_with_options",
        doc(
            "Makes a client with other limits beside this one, for calls that have less time than "
            "others or more: it shares connections, credentials and the memory of keys. Either of "
            "the two may be freed first. options_json is a JSON object such as",
            '    {"timeout_ms": 3000, "max_attempts": 1}',
            "An option that is absent is as in the other client. The options:",
            "\n".join(f"- {field_line(schema, field)}" for field in options),
            "Returns a client for takings_client_free, or NULL and an error (invalid_input).",
        ),
        ["client: Option<&takings_client_t>", "options_json: *const c_char", ERROR],
        "Option<Box<takings_client_t>>",
        """guard(error, || {
            let client = &client.ok_or_else(|| null("client"))?.client;
            // SAFETY: a C string or NULL, by the header's rules.
            let options = unsafe { text("options_json", options_json) }?;
            held(client.with_options_json(options)?)
        })""",
        unsafe=True,
    )


def _any() -> Iterator[str]:
    """A call to any operation, which the caller names."""
    parameters = [
        "client: Option<&takings_client_t>",
        "operation: *const c_char",
        "order_id: *const c_char",
        "arguments_json: *const c_char",
        "idempotency_key: *const c_char",
        ERROR,
    ]
    prepare = """let arguments = text("arguments_json", arguments_json);
            prepared(client, text("operation", operation)?, order_id, arguments, idempotency_key)"""
    yield _function(
        "takings_client_call",
        doc(
            'Calls any operation by its name, such as "capture", and waits for the outcome: at '
            "most timeout_ms.",
            "arguments_json is a JSON object with everything that the operation takes beside the "
            "order and the key, read as strictly as the request of takings_client_capture. "
            "idempotency_key is as there; it must be NULL for an operation that changes nothing.",
            "Returns a reply for takings_reply_free, or NULL and an error.",
        ),
        parameters,
        "Option<Box<takings_reply_t>>",
        f"""guard(error, || {{
            {SAFETY}
            let call = unsafe {{
                {prepare}
            }};
            Ok(takings_reply_t::new(&call?.send_from_heap()?))
        }})""",
        unsafe=True,
    )
    yield _function(
        "takings_client_prepare_call",
        doc(
            "The first half of takings_client_call, with the same arguments.",
            "Returns a call for takings_call_free, or NULL and an error (invalid_input).",
        ),
        parameters,
        "Option<Box<takings_call_t>>",
        f"""{SAFETY}
        guard(error, || unsafe {{
            {prepare}.map(takings_call_t::new)
        }})""",
        unsafe=True,
    )


def _setters() -> Iterator[str]:
    """The functions that put a value into the text of takings_json_t, one for each type."""
    string = 'Value::String(Zeroizing::new(text("value", value)?.to_owned()))'
    setters = [
        ("string", "a text", "value: *const c_char", string),
        ("integer", "a whole number", "value: i64", "Value::Integer(value)"),
        ("bool", "true or false", "value: bool", "Value::Bool(value)"),
        ("null", "null, which no field of a request may be,", None, "Value::Null"),
        ("empty_list", "an empty list that stays empty", None, "Value::List(Vec::new())"),
        (
            "empty_object",
            "an empty object, for one that stays empty or whose names are numbers,",
            None,
            "Value::Object(Vec::new())",
        ),
    ]
    for name, what, parameter, value in setters:
        yield _function(
            f"takings_json_set_{name}",
            doc(f"Puts {what} at the pointer. false and an error: nothing was changed."),
            [
                "json: Option<&mut takings_json_t>",
                "pointer: *const c_char",
                *([parameter] if parameter else []),
                ERROR,
            ],
            "bool",
            f"{SAFETY}\nunsafe {{ put(json, pointer, error, || Ok({value})) }}",
            unsafe=True,
        )


def _functions(schema: Described) -> Iterator[str]:
    lines = []
    for function in schema["functions"]:
        fields = schema["objects"][function["arguments"]]["fields"]
        need = [field["name"] for field in fields if field["required"]]
        may = [field["name"] for field in fields if not field["required"]]
        takes = f"takes {listed(need)}" if need else "takes nothing, so {}"
        lines.append(f"- {function['name']} {takes}{f'; also {listed(may)}' if may else ''}")
    yield _function(
        "takings_call",
        doc(
            "Calls a function that needs no client, by its name, for a program that has JSON at "
            "hand. arguments_json is a JSON object. The functions:",
            "\n".join(lines),
            "settings_from_env gives the settings for takings_client_new, with the credentials in "
            "clear; schema gives the names, types and limits of operations, requests, settings, "
            "replies and errors.",
            "Returns the result as JSON text, a string for takings_string_free, or NULL and an "
            "error.",
        ),
        ["name: *const c_char", "arguments_json: *const c_char", ERROR],
        "*mut c_char",
        """owned(guard(error, || {
            // SAFETY: C strings or NULL, by the header's rules.
            let (name, arguments) = unsafe {
                (text("name", name)?, text("arguments_json", arguments_json)?)
            };
            binding::call(name, arguments)
        }))""",
        unsafe=True,
    )


def _keys_and_amounts() -> Iterator[str]:
    """Typed forms of functions that need no client: each takes texts."""

    def of_texts(name: str, said: str, texts: dict[str, str], rest: list[str], work: str) -> str:
        """A function of texts, by name: `text` is required, `given` may be NULL."""
        reads = "\n".join(f'let {text} = {how}("{text}", {text});' for text, how in texts.items())
        questions = "\n".join(f"let {text} = {text}?;" for text in texts)
        made = f"""guard(error, || {{
            {SAFETY}
            let ({", ".join(texts)}) = unsafe {{
                {reads}
                ({", ".join(texts)})
            }};
            {questions}
            {work}
        }})"""
        is_made = not rest
        return _function(
            name,
            said,
            [*(f"{text}: *const c_char" for text in texts), *rest, ERROR],
            "*mut c_char" if is_made else "bool",
            f"owned({made})" if is_made else f"{made}.is_some()",
            unsafe=True,
        )

    made = "Returns a string for takings_string_free, or NULL and an error"
    yield of_texts(
        "takings_idempotency_key",
        doc(
            "Derives the idempotency key of the capture called name of an order: the same two "
            "texts give the same key after a crash, on any host, in every language (a UUID v5).",
            'name says which capture of the order it is, such as "parcel-1". Two parcels need two '
            "names: Klarna answers a known key with the first result whatever the request says.",
            f"{made} (invalid_input).",
        ),
        {"order_id": "text", "name": "text"},
        [],
        "takings::idempotency_key(order_id, name)",
    )
    yield of_texts(
        "takings_idempotency_key_for",
        doc(
            "Derives the key of a call to any operation that takes a key, by the operation's name. "
            'A refund and a capture of one name never share a key. "capture" gives that of '
            "takings_idempotency_key. capture_id is Klarna's id of the capture for an operation on "
            'a capture, such as "append_shipping_info", and NULL for every other.',
            f"{made} (invalid_input).",
        ),
        {"operation": "text", "order_id": "text", "capture_id": "given", "name": "text"},
        [],
        "takings::idempotency_key_for(operation, order_id, capture_id, name)",
    )
    yield _function(
        "takings_new_idempotency_key",
        doc(
            "A fresh random key (a UUID v4), for a program that stores it before the call.",
            f"{made} (internal: the operating system gives no random bytes).",
        ),
        [ERROR],
        "*mut c_char",
        "owned(guard(error, takings::new_idempotency_key))",
    )
    yield of_texts(
        "takings_minor",
        doc(
            "Puts the amount, in the minor units that Klarna counts in, into *minor: "
            '"60.00" of "EUR" is 6000, exactly or not at all.',
            "amount is a decimal number such as 60, -4.5 or 60.00, with a point and without a "
            "thousands separator, sign +, exponent or spaces. currency is a code of ISO 4217 in "
            "upper or lower case, whose number of decimals counts: 2 for EUR, 0 for JPY, 3 for "
            "KWD. Zeros beyond those are passed over; any other digit there is refused, since "
            "nothing is rounded.",
            "false and an error (invalid_input): *minor is as it was.",
        ),
        {"amount": "text", "currency": "text"},
        ["minor: Option<&mut MaybeUninit<i64>>"],
        """minor.ok_or_else(|| null("minor"))?.write(takings::minor(amount, currency)?);
        Ok(())""",
    )


def _record(schema: Described, record: Described) -> Iterator[str]:
    name = snake(record["name"])
    handle = f"takings_{name}_t"
    said = spoken(record["doc"])
    if name == "attempt":
        said += " It belongs to what it was asked of."
    said = doc(f"{said} Any number of threads may read it.")
    yield f"{said}\npub struct {handle}(pub(crate) Record);"
    of = [f"{name}: Option<&{handle}>"]
    held = f"{name}.map(|{name}| &{name}.0)"
    taken = {field["name"] for field in record["fields"]}
    for index, field in enumerate(record["fields"]):
        getter = f"takings_{name}_{field['name']}"
        about_it = about(field)
        kind, optional = field["kind"], field["optional"]
        if kind == "text":
            none = "; NULL where there is none" if optional else ""
            yield _function(
                getter,
                doc(f"{about_it}{none}."),
                of,
                "*const c_char",
                f"pointer(text_of({held}, {index}))",
            )
        elif kind == "integer":
            number = (NARROW | WIDE).get(field["name"], "u32")
            none = "; 0 where there is none" if optional else ""
            yield _function(
                getter, doc(f"{about_it}{none}."), of, number, f"number({held}, {index}, 0)"
            )
        elif kind in ("time", "duration"):
            unit = "in milliseconds" + (" since 1970 (UTC)" if kind == "time" else "")
            absent = -1 if optional else 0
            none = f"; {absent} where there is none" if optional else ""
            yield _function(
                f"{getter}_ms",
                doc(f"{about_it}, {unit}{none}."),
                of,
                "i64",
                f"number({held}, {index}, {absent})",
            )
        elif kind == "boolean":
            yield _function(
                getter, doc(f"{about_it}."), of, "bool", f"number({held}, {index}, 0) != 0"
            )
        elif kind == "error_kind":
            yield from _kind_getters(schema, getter, about_it, of, held, index)
        elif kind == "found":
            yield _function(
                getter,
                doc(f"{about_it}. TAKINGS_FOUND_NOTHING for NULL."),
                of,
                "takings_found_t",
                _by_word(
                    held,
                    index,
                    {word: f"TAKINGS_FOUND_{word.upper()}" for word in FOUND},
                    "TAKINGS_FOUND_NOTHING",
                ),
            )
        elif kind == "texts":
            one = singular(field["name"])
            at = f"takings_{name}_{one}_at" if one in taken else f"takings_{name}_{one}"
            yield _function(
                f"takings_{name}_{one}_count",
                doc(f"How many {field['name'].replace('_', ' ')} there are. {about_it}."),
                of,
                "usize",
                f"count_of({held}, {index})",
            )
            yield _function(
                at,
                doc("An item of that list, counted from 0; NULL beyond the last."),
                [*of, "index: usize"],
                "*const c_char",
                f"pointer(item_of({held}, {index}, index))",
            )
        elif kind == "attempts":
            yield _function(
                f"{getter}_count",
                doc(f"How many requests its attempt log holds. {about_it}."),
                of,
                "usize",
                f"count_of({held}, {index})",
            )
            yield _function(
                getter,
                doc("A request of the call, in order, counted from 0; NULL beyond the last."),
                [*of, "index: usize"],
                "Option<&takings_attempt_t>",
                f"attempt_of({held}, {index}, index)",
            )
        else:
            raise ValueError(f"{record['name']}.{field['name']} is {kind}, which C cannot show yet")
    if name != "attempt":
        yield _function(
            f"takings_{name}_json",
            doc(
                "All fields as a JSON object. Times are whole milliseconds; their names end in _ms."
            ),
            of,
            "*const c_char",
            f"json_of({held})",
        )
        yield _function(
            f"takings_{name}_free",
            doc(f"Frees {article(name)} and its strings."),
            [f"{name}: Option<Box<{handle}>>"],
            "",
            f"free({name});",
        )


def article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun.replace('_', ' ')}"


def _by_word(held: str, index: int, members: dict[str, str], none: str) -> str:
    """The member of an enum for the word in a field. The last is for what cannot be, too."""
    *before, last = [f'Some("{word}") => {member},' for word, member in members.items()]
    arms = "\n".join([f"None => {none},", *before, re.sub(r'".*"', "_", last)])
    return f"match word_of({held}, {index}) {{\n{arms}\n}}"


def _kind_getters(
    schema: Described, getter: str, said: str, of: list[str], held: str, index: int
) -> Iterator[str]:
    names = [kind["name"] for kind in schema["error_kinds"]]
    yield _function(
        getter,
        doc(f"{said}; TAKINGS_ERROR_NONE for NULL."),
        of,
        "takings_error_kind_t",
        _by_word(held, index, {name: constant(name) for name in names}, "TAKINGS_ERROR_NONE"),
    )
    arms = [f'{constant(name)} => c"{name}".as_ptr(),' for name in names]
    yield _function(
        f"{getter}_name",
        doc(
            f"The kind as a word, the same in every language: {listed(names, 'or')}. It stays "
            "valid for as long as the program runs."
        ),
        of,
        "*const c_char",
        f"match {getter}(error) {{\nTAKINGS_ERROR_NONE => ptr::null(),\n{chr(10).join(arms)}\n}}",
    )


def _operation(schema: Described, operation: Described) -> Iterator[str]:
    name, reply = operation["name"], snake(reply_of(schema, operation))
    fields = flat(schema, operation)
    client = ["client: Option<&takings_client_t>", "order_id: *const c_char"]
    said = spoken(operation["doc"])
    about_it = [f"{said} It waits for the outcome, at most timeout_ms."]
    if fields is None:
        about_it += _request(schema, operation)
        parameters = [*client, "request_json: *const c_char"]
        arguments = 'let arguments = text("request_json", request_json);'
        given = "arguments"
    else:
        about_it.append("\n".join(f"- {field_line(schema, field)}" for field in fields))
        types = {"text": "*const c_char", "integer": "i64"}
        parameters = [
            *client,
            *(f"{field['name']}: {types[field['type']['kind']]}" for field in fields),
        ]
        texts = [field["name"] for field in fields if field["type"]["kind"] == "text"]
        pairs = ", ".join(
            f'"{field["name"]}": {field["name"]}{"?" if field["name"] in texts else ""}'
            for field in fields
        )
        lets = "\n".join(f'let {text} = text("{text}", {text});' for text in texts)
        made = f"serde_json::json!({{{pairs}}}).to_string()"
        if texts:
            made = f"(|| Ok({made}))()"
        arguments = f"{lets}\nlet arguments = {made};" if fields else ""
        given = "arguments.as_deref().map_err(Clone::clone)" if texts else "Ok(&arguments)"
        if not fields:
            given = 'Ok("{}")'
    key = "ptr::null()"
    if operation["takes_key"]:
        parameters.append("idempotency_key: *const c_char")
        about_it.append(_KEY)
        key = "idempotency_key"
    prepare = f'prepared(client, "{name}", order_id, {given}, {key})'
    yield _function(
        f"takings_client_{name}",
        doc(*about_it, f"Returns {article(reply)} for takings_{reply}_free, or NULL and an error."),
        [*parameters, ERROR],
        f"Option<Box<takings_{reply}_t>>",
        f"""guard(error, || {{
            {SAFETY}
            let call = unsafe {{
                {arguments}
                {prepare}
            }};
            Ok(Box::new(takings_{reply}_t(Record::from(&call?.send_from_heap()?))))
        }})""",
        unsafe=True,
    )
    yield _function(
        f"takings_client_{operation['prepare']}",
        doc(
            f"The first half of takings_client_{name}, with the same arguments: everything that "
            "can be refused is refused here, and the key is known before anything is sent. The "
            "call is the second half, for your program to send.",
            "Returns a call for takings_call_free, or NULL and an error (invalid_input).",
        ),
        [*parameters, ERROR],
        "Option<Box<takings_call_t>>",
        f"""{SAFETY}
        guard(error, || unsafe {{
            {arguments}
            {prepare}.map(takings_call_t::new)
        }})""",
        unsafe=True,
    )


_KEY = (
    "With an idempotency_key of your own (takings_idempotency_key makes one) it can be called "
    "again after a crash: the money moves once. With NULL a fresh key is made for this call and "
    "its retries; it comes back in what the call ends in. So check whether takings_idempotency_key "
    "gave NULL before passing it on: a repeat would be carried out again."
)


def _request(schema: Described, operation: Described) -> Iterator[str]:
    fields = schema["objects"][operation["arguments"]]["fields"]
    options = options_of(schema, operation)
    yield (
        "request_json is a JSON object with the fields below, under Klarna's names. It is read "
        "strictly: an unknown or doubled field, a fraction, a string for a number is refused and "
        "nothing is sent."
    )
    yield "\n".join(f"- {field_line(schema, field)}" for field in [*fields, *options])


def _result(record: str) -> str:
    name = snake(record)
    return _function(
        f"takings_call_{name}",
        doc(
            f"The outcome of a call that gives {article(name)}; a program can ask for it again.",
            "Before TAKINGS_STEP_DONE it is the error for a caller that stops waiting: "
            "outcome_unknown, with the key to call again with.",
            f"Returns {article(name)} for takings_{name}_free, or NULL and an error.",
        ),
        ["call: Option<&takings_call_t>", ERROR],
        f"Option<Box<takings_{name}_t>>",
        f'guard(error, || Ok(Box::new(takings_{name}_t(typed(call, "{record}")?))))',
    )


def _offline() -> Iterator[str]:
    """Looks at calls before they are made, and rows for a ledger: without a client."""
    for operation in CHECKED:
        other = "" if operation == "capture" else " as takings_check_capture looks at a capture"
        more = (
            "No request is sent and no call is refused: Klarna alone decides, so never leave a "
            f"{operation} out for a reason. A request that no call would take is a reason as well.",
            "order_json is the order as Klarna wrote it: takings_document_raw of "
            "takings_client_get_order, or a copy that your program kept. now_ms is the time by "
            "which the order may have expired, in milliseconds since 1970, such as "
            "takings_document_answered_at_ms; below 0 it is not known. request_json is that of "
            f"takings_client_{operation}.",
            "No client is needed, and any thread may call it at any time. Returns a check for "
            "takings_check_free, or NULL and an error (invalid_input: order_json is no order).",
        )
        yield _function(
            f"takings_check_{operation}",
            doc(
                f"Looks at a {operation} before it is made, on an order that was read{other}: "
                f"for which reasons is it likely to be refused, or to be a mistake?",
                *more,
            ),
            [
                "order_json: *const c_char",
                "now_ms: i64",
                "request_json: *const c_char",
                ERROR,
            ],
            "Option<Box<takings_check_t>>",
            f"""guard(error, || {{
                // SAFETY: C strings or NULL, by the header's rules.
                let (order, request) = unsafe {{
                    (text("order_json", order_json)?, text("request_json", request_json)?)
                }};
                let check = binding::check_json("{operation}", order, now_ms, request)?;
                let record = Record::new(&binding::Check::INFO, check.facts(), &check.to_json());
                Ok(Box::new(takings_check_t(record)))
            }})""",
            unsafe=True,
        )
    yield _function(
        "takings_intent_new",
        doc(
            'Makes the row of a "capture" or a "refund" for a ledger in your own database, '
            "without a client and without I/O. Your program inserts it in the transaction in which "
            "the goods leave:",
            """    takings_intent_t *intent = takings_intent_new("capture", id, request, &error);
    char *sql = takings_intent_insert("capture", "?", &error);
    const takings_value_t *values = takings_intent_values(intent);
    for (size_t i = 0; i < takings_value_count(values); i++)
        bind(statement, i + 1, takings_value_at(values, i));""",
            "request_json is that of takings_client_capture or takings_client_refund without "
            "limits of the call, read as strictly. reference is required, since the key is derived "
            "from it. It may also have account, the account of the ledger: default when absent.",
            "Any thread may call it at any time. Returns an intent for takings_intent_free, or "
            "NULL and an error (invalid_input, naming the field).",
        ),
        [
            "operation: *const c_char",
            "order_id: *const c_char",
            "request_json: *const c_char",
            ERROR,
        ],
        "Option<Box<takings_intent_t>>",
        f"""guard(error, || {{
            {SAFETY}
            let (operation, order_id, request) = unsafe {{
                let operation = text("operation", operation)?;
                (operation, text("order_id", order_id)?, text("request_json", request_json)?)
            }};
            let intent = Intent::from_json(operation, order_id, request)?;
            let mut record = Record::new(&Intent::INFO, intent.facts(), &intent.to_json());
            record.document = Some(takings_value_t::of_columns(intent.values()));
            Ok(Box::new(takings_intent_t(record)))
        }})""",
        unsafe=True,
    )
    yield _function(
        "takings_intent_values",
        doc(
            "The values of its INSERT, in the order of the placeholders, as an object whose "
            "members are the columns: takings_value_name gives a column, and takings_value_at its "
            "value. The kind says how to bind it: TAKINGS_VALUE_TEXT, TAKINGS_VALUE_INTEGER (the "
            "amount, which the tables take as a number alone), or TAKINGS_VALUE_NULL. They belong "
            "to the intent."
        ),
        ["intent: Option<&takings_intent_t>"],
        "Option<&takings_value_t>",
        "intent?.0.document.as_ref()",
    )
    yield _function(
        "takings_intent_insert",
        doc(
            'The INSERT of the intents of "capture" or "refund", the same for each, with the '
            'placeholders that your database library takes: "?", "%s", "$1" or ":name".',
            "Returns a string for takings_string_free, or NULL and an error (invalid_input).",
        ),
        ["operation: *const c_char", "style: *const c_char", ERROR],
        "*mut c_char",
        f"""owned(guard(error, || {{
            {SAFETY}
            let (operation, style) = unsafe {{
                (text("operation", operation)?, text("style", style)?)
            }};
            Ok(binding::insert(operation, style)?.sql)
        }}))""",
        unsafe=True,
    )

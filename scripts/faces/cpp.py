"""The typed parts of include/takings.hpp, each between two comments; the rest is by hand."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

from faces.c import (
    CHECKED,
    NARROW,
    OFFLINE,
    ROOT,
    WIDE,
    Described,
    article,
    constant,
    flat,
    listed,
    options_of,
    records,
    replies,
    singular,
    snake,
    spoken,
    words_of,
)

PATH = "include/takings.hpp"
BEGIN = "/* generated: {} (scripts/generate.py, from the core's declarations) */"
END = "/* end of generated */"


def files(schema: Described) -> dict[str, str]:
    text = (ROOT / PATH).read_text(encoding="utf-8")
    parts = {
        "types": "\n\n".join(_types(schema)),
        "conversions": "\n\n".join(_conversions(schema)),
        "results": "\n\n".join(_results(schema)),
        "operations": "\n\n".join(_operations(schema)),
        "offline": "\n\n".join(_offline()),
    }
    for name, part in parts.items():
        text = _put(text, name, part)
    return {PATH: text}


def _put(text: str, name: str, part: str) -> str:
    marks = re.escape(BEGIN.format(name)), re.escape(END)
    found = re.search(rf"^( *){marks[0]}\n(.*?)^ *{marks[1]}$", text, re.DOTALL | re.MULTILINE)
    if not found:
        raise ValueError(f"{PATH} has no place for the generated {name}")
    indented = textwrap.indent(part, found[1]) + "\n"
    return text[: found.start(2)] + indented + text[found.end(2) :]


def comment(text: str, indent: str = "", width: int = 100) -> str:
    filled = textwrap.wrap(
        f"/* {' '.join(text.split())}",
        width - 3,
        initial_indent=indent,
        subsequent_indent=f"{indent} * ",
        break_on_hyphens=False,
        break_long_words=False,
    )
    return "\n".join(filled) + " */"


# --- requests and settings ------------------------------------------------------------------------


def arguments_of(schema: Described, operation: Described) -> list[Described]:
    """The fields of a request, with the options of a call that takes a key."""
    fields = list(schema["objects"][operation["arguments"]]["fields"])
    return fields + options_of(schema, operation)


def objects(schema: Described) -> dict[str, list[Described]]:
    """The structs of requests and settings with their fields, each after those it holds."""
    found: dict[str, list[Described]] = {}

    def add(name: str, fields: list[Described]) -> None:
        for field in fields:
            kind = field["type"]
            held = kind["of"] if kind["kind"] == "list" else kind
            if held["kind"] == "object":
                add(held["name"], schema["objects"][held["name"]]["fields"])
        found.setdefault(name, fields)

    for operation in schema["operations"]:
        if flat(schema, operation) is None:
            add(operation["arguments"], arguments_of(schema, operation))
    for name in (schema["settings"], schema["client_options"]):
        add(name, schema["objects"][name]["fields"])
    return found


def value_type(kind: Described, required: bool) -> str:
    match kind["kind"]:
        case "text" | "word" | "secret":
            return "text"
        case "integer" if kind["unit"].startswith("seconds since 1970"):
            return "std::chrono::system_clock::time_point"
        case "integer":
            return "amount" if kind["unit"].startswith("minor units") else "whole"
        case "boolean":
            return "flag"
        case "duration":
            return "std::chrono::milliseconds"
        case "object":
            return f"takings::{snake(kind['name'])}"
        case "list":
            return f"std::vector<{value_type(kind['of'], False)}>"
        case other:
            raise ValueError(f"{other} has no type in C++ yet")


def member(field: Described) -> str:
    """Its name in C++, where a time has its unit in its type."""
    name: str = field["name"]
    return name.removesuffix("_ms") if field["type"]["kind"] == "duration" else name


def _struct(schema: Described, name: str, fields: list[Described]) -> str:
    type_name = snake(name)
    said = spoken(schema["objects"][name]["doc"])
    for other in schema["objects"]:
        said = re.sub(rf"\b{other}\b", snake(other), said)
    if name == schema["settings"]:
        said = "The settings of a client. A setting that is absent has the library's default."
    lines = [comment(said), f"struct {type_name} {{"]
    required = [field for field in fields if field["required"]]
    if required:
        explicit = "explicit " if len(required) == 1 else ""
        parameters = ", ".join(
            f"{value_type(field['type'], True)} {member(field)}" for field in required
        )
        values = []
        for field in required:
            moved = value_type(field["type"], True) not in ("amount", "whole", "flag")
            values.append(
                f"{member(field)}({f'std::move({member(field)})' if moved else member(field)})"
            )
        lines += [
            f"    {explicit}{type_name}({parameters})",
            f"        : {', '.join(values)} {{}}",
            "",
        ]
    for field in fields:
        kind = field["type"]
        words = listed(words_of(schema, kind), "or") if kind["kind"] == "word" else ""
        known = f" One of {words}." if words else ""
        lines.append(comment(f"{spoken(field['doc'])}{known}", "    "))
        of = value_type(kind, field["required"])
        lines.append(f"    {of if field['required'] else f'std::optional<{of}>'} {member(field)};")
    return "\n".join([*lines, "};"])


def _types(schema: Described) -> Iterator[str]:
    for name, fields in objects(schema).items():
        yield _struct(schema, name, fields)
    *others, attempt = records(schema)
    error, *results = others
    for record in (attempt, *results):
        if record["name"] == "Check":
            continue
        if record["name"] == "Document":
            for name in documents(schema):
                yield from _document_struct(schema, name, record)
        else:
            yield _result_struct(record, snake(record["name"]))
    yield _result_struct(error, "error_fields", "The facts of an error.")
    yield _error_class(error)
    for kind in schema["error_kinds"]:
        yield (
            f"{comment(spoken(kind['doc']))}\nclass {class_of(kind['name'])} : public error {{\n"
            "    using error::error;\n};"
        )


# --- results --------------------------------------------------------------------------------------


def class_of(kind: str) -> str:
    return "internal_error" if kind == "internal" else kind


def result_type(field: Described) -> str:
    number = "int" if field["name"] in NARROW else "std::uint32_t"
    types = {
        "text": "std::string",
        "integer": "std::int64_t" if field["name"] in WIDE else number,
        "boolean": "bool",
        "texts": "std::vector<std::string>",
        "attempts": "std::vector<attempt>",
        "time": "std::chrono::system_clock::time_point",
        "duration": "std::chrono::milliseconds",
        "error_kind": "takings_error_kind_t",
        "found": "takings_found_t",
    }
    of = types[field["kind"]]
    return f"std::optional<{of}>" if field["optional"] else of


JSON = {
    "name": "json",
    "kind": "text",
    "optional": False,
    "only_item_of": None,
    "doc": "All fields as a JSON object, as takings.h gives it.",
}


def fields_of(record: Described) -> list[Described]:
    return [*record["fields"], *([] if record["name"] == "Attempt" else [JSON])]


def _result_struct(record: Described, name: str, said: str = "") -> str:
    lines = [comment(said or spoken(record["doc"])), f"struct {name} {{"]
    methods = []
    for field in fields_of(record):
        explained = comment(spoken(field["doc"]), "    ")
        of = result_type(field)
        if plural := field["only_item_of"]:
            methods += [
                "",
                explained,
                f"    {of} {field['name']}() const {{",
                f"        return {plural}.size() == 1 ? {of}({plural}.front()) : std::nullopt;",
                "    }",
            ]
            continue
        lines += [explained, f"    {of} {field['name']};"]
        if field["kind"] == "error_kind":
            lines.append(f"    std::string {field['name']}_name;")
    if record["name"] == "Intent":
        methods += ["", textwrap.indent(INTENT, "    ")]
    return "\n".join([*lines, *methods, "};"])


def _error_class(record: Described) -> str:
    lines = [
        comment(
            "Why a call did not end well. The class says what it means for the money; what() is "
            "one line for a log. A copy shares the fields, which outlive the client."
        ),
        "class error : public std::runtime_error {\npublic:",
        "    explicit error(error_fields fields)",
        "        : std::runtime_error(fields.message),"
        " fields_(std::make_shared<const error_fields>(std::move(fields))) {}",
        "    /* A moved-from error keeps its fields. */",
        "    error(const error &) = default;",
        "    error &operator=(const error &) = default;",
        "",
    ]
    for field in fields_of(record):
        of, name = result_type(field), field["name"]
        plain = of in ("bool", "std::uint32_t", "takings_error_kind_t")
        shown = of if plain else f"const {of} &"
        gap = "" if shown.endswith("&") else " "
        lines.append(f"    {shown}{gap}{name}() const noexcept {{ return fields_->{name}; }}")
        if field["kind"] == "error_kind":
            lines.append(
                f"    const std::string &{name}_name() const noexcept "
                f"{{ return fields_->{name}_name; }}"
            )
    lines += ["", "private:", "    std::shared_ptr<const error_fields> fields_;", "};"]
    return "\n".join(lines)


# --- documents of Klarna's ------------------------------------------------------------------------


def documents(schema: Described) -> list[str]:
    """Each document and the objects in it, each after those it holds."""
    found: dict[str, None] = {}

    def add(name: str) -> None:
        for field in schema["documents"].get(name, {"fields": []})["fields"]:
            add(str(field["type"].get("of")))
        if name in schema["documents"]:
            found[name] = None

    for name in schema["documents"]:
        add(name)
    return list(found)


def member_type(kind: Described) -> str:
    """The type of a member that is there."""
    of = f"takings::{snake(kind['of'])}" if kind.get("of") else ""
    return {
        "integer": "std::int64_t",
        "time": "std::chrono::system_clock::time_point",
        "object": of,
        "list": f"std::vector<{of}>",
        "documents": f"std::vector<{of}>",
    }.get(kind["kind"], "std::string")


def is_reply(schema: Described, name: str) -> bool:
    return any(operation["reply"] == name for operation in schema["operations"])


def _document_struct(schema: Described, name: str, facts: Described) -> Iterator[str]:
    document = schema["documents"][name]
    lines = [comment(spoken(document["doc"])), f"struct {snake(name)} {{"]
    for field in document["fields"]:
        of, said = member_type(field["type"]), spoken(field["doc"])
        if known := field["type"].get("words"):
            group = f"{snake(name)}_{field['name']}"
            said += f" takings::{group} has the known ones."
            yield "\n".join(
                [
                    comment(f"Known values of {field['name']}; Klarna may add others."),
                    f"struct {group} {{",
                    *(
                        f'    static constexpr const char *{word.lower()} = "{word}";'
                        for word in known
                    ),
                    "};",
                ]
            )
        lines.append(comment(said, "    "))
        is_list = of.startswith("std::vector")
        lines.append(f"    {of if is_list else f'std::optional<{of}>'} {field['name']};")
    if is_reply(schema, name):
        for field in fields_of(facts):
            lines.append(comment(spoken(field["doc"]), "    "))
            start = "{}" if field["kind"] == "integer" else ""
            lines.append(f"    {result_type(field)} {field['name']}{start};")
    if name == "Order":
        lines += ["", textwrap.indent(CHECKS, "    ")]
    yield "\n".join([*lines, "};"])


# Functions that need no client.
INTENT = """\
/* The row of a capture for a ledger in your own database, without a client and without I/O. The
 * request must have a reference, from which the key is derived, and no limits of a call. Throws
 * invalid_input, naming the field. */
static intent capture(const text &order_id, const capture_request &request);

/* The row of a refund, as capture makes that of a capture. */
static intent refund(const text &order_id, const refund_request &request);

/* The same of the operation "capture" or "refund" with the request as JSON text, which may also
 * have account, the account of the ledger. */
static intent from_json(const text &operation, const text &order_id, const text &request_json);

/* The INSERT with the placeholders that your database library takes: "?", "%s", "$1" or ":name".
 * They stand for account, order_id, reference, the amount and request, in this order. Bind the
 * amount as a number. Throws invalid_input for another style. */
std::string insert(const text &style) const;"""
CHECKS = """\
/* The reasons for which this capture is likely to be refused or to be a mistake, each a line for a
 * person; none is a good sign. It looks at raw and answered_at alone and sends nothing: Klarna
 * alone decides, so never refuse a capture for them. A request that no call would take is a reason
 * as well. Throws invalid_input where raw is no order. */
std::vector<std::string> check_capture(const capture_request &request) const;
std::vector<std::string> check_capture(const text &request_json) const;

/* The same of a refund. */
std::vector<std::string> check_refund(const refund_request &request) const;
std::vector<std::string> check_refund(const text &request_json) const;"""


def _offline() -> Iterator[str]:
    """The bodies of the functions that need no client."""
    for operation in CHECKED:
        of = f"check_{operation}"
        yield f"""\
inline std::vector<std::string> order::{of}(const {operation}_request &request) const {{
    return {of}(detail::json::of(request));
}}

inline std::vector<std::string> order::{of}(const text &request_json) const {{
    const auto check = detail::ask([&](takings_error_t **error) {{
        return takings_{of}(detail::c_string("order_json", raw), detail::milliseconds(answered_at),
                            detail::c_string("request_json", request_json), error);
    }});
    return detail::texts(check.get(), takings_check_reason_count, takings_check_reason);
}}

inline intent intent::{operation}(const text &order_id, const {operation}_request &request) {{
    return from_json("{operation}", order_id, detail::json::of(request));
}}"""
    yield """\
inline intent intent::from_json(const text &operation, const text &order_id,
                                const text &request_json) {
    const auto made = detail::ask([&](takings_error_t **error) {
        return takings_intent_new(detail::c_string("operation", operation),
                                  detail::c_string("order_id", order_id),
                                  detail::c_string("request_json", request_json), error);
    });
    return detail::read(made.get());
}

inline std::string intent::insert(const text &style) const {
    const auto sql = detail::ask([&](takings_error_t **error) {
        return takings_intent_insert(detail::c_string("operation", operation),
                                     detail::c_string("style", style), error);
    });
    return sql.get();
}"""


_READERS = r"""/* Reads a value of a document; nothing where it is absent. */
template <typename T>
struct reader;

template <typename T>
std::optional<T> member(const takings_value_t *from, const char *name) {
    const takings_value_t *found = takings_value_member(from, name);
    return found ? reader<T>::read(found) : std::nullopt;
}

template <>
struct reader<std::string> {
    static std::optional<std::string> read(const takings_value_t *from) {
        return optional_text(takings_value_text(from));
    }
};

template <>
struct reader<takings::text> {
    static std::optional<takings::text> read(const takings_value_t *from) {
        const char *found = takings_value_text(from);
        return found ? std::optional<takings::text>(found) : std::nullopt;
    }
};

template <>
struct reader<std::int64_t> {
    static std::optional<std::int64_t> read(const takings_value_t *from) {
        std::int64_t value = 0;
        const bool found = takings_value_integer(from, &value);
        return found ? std::optional<std::int64_t>(value) : std::nullopt;
    }
};

template <>
struct reader<whole> {
    static std::optional<whole> read(const takings_value_t *from) {
        const auto value = reader<std::int64_t>::read(from);
        return value ? std::optional<whole>(*value) : std::nullopt;
    }
};

template <>
struct reader<std::chrono::system_clock::time_point> {
    static std::optional<std::chrono::system_clock::time_point> read(const takings_value_t *from) {
        using point = std::chrono::system_clock::time_point;
        std::int64_t ms = 0;
        return takings_value_time_ms(from, &ms) ? std::optional<point>(time(ms)) : std::nullopt;
    }
};

/* A list with an item that no request could have is absent: a part of it would be another sum. */
template <typename T>
struct reader<std::vector<T>> {
    static std::optional<std::vector<T>> read(const takings_value_t *from) {
        std::vector<T> items;
        for (std::size_t i = 0; i < takings_value_count(from); ++i) {
            auto item = reader<T>::read(takings_value_at(from, i));
            if (!item) {
                return std::nullopt;
            }
            items.push_back(std::move(*item));
        }
        return items;
    }
};"""


def _readers(schema: Described) -> Iterator[str]:
    """Reads what documents hold, each type after those it holds."""
    yield _READERS
    held = {
        str(field["type"].get("of"))
        for of in schema["documents"].values()
        for field in of["fields"]
    }
    sendable = objects(schema)
    needed: set[str] = set()

    def need(name: str) -> None:
        needed.add(name)
        for field in sendable[name]:
            of = field["type"].get("of", field["type"])
            if of["kind"] == "object":
                need(of["name"])

    for name in held & {*sendable}:
        need(name)
    for name, fields in sendable.items():
        if name in needed:
            yield _request_reader(name, fields)
    for name in documents(schema):
        lines = []
        for field in schema["documents"][name]["fields"]:
            of = member_type(field["type"])
            empty = f".value_or({of}())" if of.startswith("std::vector") else ""
            lines.append(f'into.{field["name"]} = member<{of}>(from, "{field["name"]}"){empty};')
        if is_reply(schema, name):
            lines.append("into.raw = text(takings_value_text(from));")
        yield _reader(name, [f"takings::{snake(name)} into{{}};", *lines])


def _reader(name: str, lines: list[str]) -> str:
    of = f"takings::{snake(name)}"
    return "\n".join(
        [
            f"template <>\nstruct reader<{of}> {{",
            f"    static std::optional<{of}> read(const takings_value_t *from) {{",
            *(f"        {line}" for line in lines),
            "        return into;\n    }\n};",
        ]
    )


def _request_reader(name: str, fields: list[Described]) -> str:
    lines = []
    required = [field for field in fields if field["required"]]

    def read(field: Described) -> str:
        of = value_type(field["type"], True)
        return f'member<{"takings::text" if of == "text" else of}>(from, "{field["name"]}")'

    lines += [f"auto {member(field)} = {read(field)};" for field in required]
    if required:
        lines.append(f"if ({' || '.join(f'!{member(field)}' for field in required)}) {{")
        lines += ["    return std::nullopt;", "}"]
    given = ", ".join(f"std::move(*{member(field)})" for field in required)
    lines.append(f"takings::{snake(name)} into{f'({given})' if given else '{}'};")
    lines += [f"into.{member(field)} = {read(field)};" for field in fields if not field["required"]]
    return _reader(name, lines)


# --- to and from takings.h ------------------------------------------------------------------------


_HELPERS = r"""inline std::string text(const char *text) { return text ? text : ""; }

inline std::optional<std::string> optional_text(const char *text) {
    return text ? std::optional<std::string>(text) : std::nullopt;
}

template <typename T>
std::optional<T> optional_number(T number) {
    return number != 0 ? std::optional<T>(number) : std::nullopt;
}

inline std::chrono::milliseconds duration(std::int64_t ms) { return std::chrono::milliseconds(ms); }

inline std::optional<std::chrono::milliseconds> optional_duration(std::int64_t ms) {
    return ms >= 0 ? std::optional<std::chrono::milliseconds>(ms) : std::nullopt;
}

inline std::chrono::system_clock::time_point time(std::int64_t ms) {
    return std::chrono::system_clock::time_point(std::chrono::milliseconds(ms));
}

inline std::optional<std::chrono::system_clock::time_point> optional_time(std::int64_t ms) {
    return ms >= 0 ? std::make_optional(time(ms)) : std::nullopt;
}

/* A time for takings.h, where a number below 0 stands for none. */
inline std::int64_t milliseconds(const std::optional<std::chrono::system_clock::time_point> &time) {
    using std::chrono::milliseconds;
    return time ? std::chrono::duration_cast<milliseconds>(time->time_since_epoch()).count() : -1;
}

template <typename T>
std::vector<std::string> texts(const T *from, std::size_t (*count)(const T *),
                               const char *(*at)(const T *, std::size_t)) {
    std::vector<std::string> texts;
    for (std::size_t i = 0; i < count(from); ++i) {
        texts.emplace_back(text(at(from, i)));
    }
    return texts;
}"""


_WRITER = r"""/* Writes the JSON text that takings.h takes. Strings go out as they are, escaped
 * where JSON asks for it, so that the library judges them. */
class json {
public:
    template <typename T>
    static std::string of(const T &value) {
        json out;
        out.write(value);
        return std::move(out.text_);
    }

private:
    template <typename T>
    void write(const T &value) {
        if constexpr (std::is_convertible_v<const T &, std::string_view>) {
            write_text(value);
        } else if constexpr (std::is_same_v<T, flag>) {
            text_ += value ? "true" : "false";
        } else if constexpr (std::is_same_v<T, whole>) {
            text_ += std::to_string(value.value());
        } else if constexpr (std::is_same_v<T, std::chrono::milliseconds>) {
            text_ += std::to_string(value.count());
        } else if constexpr (std::is_same_v<T, std::chrono::system_clock::time_point>) {
            using std::chrono::seconds;
            const auto time = std::chrono::duration_cast<seconds>(value.time_since_epoch());
            text_ += std::to_string(time.count());
        } else {
            text_ += '{';
            fields<T>::each(value, [this](const char *name, const auto &field) {
                member(name, field);
            });
            text_ += '}';
        }
    }

    template <typename T>
    void write(const std::vector<T> &items) {
        text_ += '[';
        for (const T &item : items) {
            comma('[');
            write(item);
        }
        text_ += ']';
    }

    template <typename T>
    void member(const char *name, const T &value) {
        comma('{');
        write_text(name);
        text_ += ':';
        write(value);
    }

    template <typename T>
    void member(const char *name, const std::optional<T> &value) {
        if (value) {
            member(name, *value);
        }
    }

    void write_text(std::string_view value) {
        static const char digits[] = "0123456789abcdef";
        text_ += '"';
        for (const char c : value) {
            if (c == '"' || c == '\\') {
                text_ += '\\';
                text_ += c;
            } else if (static_cast<unsigned char>(c) < 0x20) {
                text_ += "\\u00";
                text_ += digits[c >> 4];
                text_ += digits[c & 15];
            } else {
                text_ += c;
            }
        }
        text_ += '"';
    }

    void comma(char opening) {
        if (text_.back() != opening) {
            text_ += ',';
        }
    }

    std::string text_;
};"""


def _conversions(schema: Described) -> Iterator[str]:
    yield _HELPERS
    yield _closer(schema)
    yield (
        "/* Visits the fields of a request or of settings, under their names in JSON. */\n"
        "template <typename T>\nstruct fields;"
    )
    for name, fields in objects(schema).items():
        visits = [f'        visit("{field["name"]}", value.{member(field)});' for field in fields]
        yield "\n".join(
            [
                f"template <>\nstruct fields<{snake(name)}> {{",
                "    template <typename T, typename Visit>",
                "    static void each(T &value, Visit visit) {",
                *visits,
                "    }\n};",
            ]
        )
    yield _WRITER
    *others, attempt = records(schema)
    error, *results = others
    yield _read(attempt, "attempt")
    yield (
        "template <typename T>\n"
        "std::vector<attempt> attempts(const T *from, std::size_t (*count)(const T *),\n"
        "                              const takings_attempt_t *(*at)(const T *, std::size_t)) {\n"
        "    std::vector<attempt> log;\n"
        "    for (std::size_t i = 0; i < count(from); ++i) {\n"
        "        log.push_back(read(at(from, i)));\n"
        "    }\n"
        "    return log;\n"
        "}"
    )
    for record in results:
        if record["name"] == "Check":
            continue
        if record["name"] == "Document":
            yield from _readers(schema)
            yield _read_document(record)
        else:
            yield _read(record, snake(record["name"]))
    yield _read(error, "error_fields")
    yield _refused(error)
    cases = [
        f"    case {constant(kind['name'])}:\n"
        f"        throw {class_of(kind['name'])}(std::move(fields));"
        for kind in schema["error_kinds"]
        if kind["name"] != "outcome_unknown"
    ]
    yield "\n".join(
        [
            "[[noreturn]] inline void raise(error_fields fields) {",
            "    switch (fields.kind) {",
            *cases,
            "    default: /* a kind that a later library knows is to be treated as this one */",
            "        throw outcome_unknown(std::move(fields));",
            "    }\n}",
        ]
    )


def _refused(error: Described) -> str:
    """The error for input that cannot be handed to the library, in words without marks."""
    empty = {"boolean": "false", "integer": "0", "texts": "[]", "attempts": "[]"}
    members = []
    for field in error["fields"]:
        value = "null" if field["optional"] else empty.get(field["kind"], "")
        if field["kind"] == "error_kind":
            value = '"invalid_input"'
        members.append((f'"{field["name"]}":', value))
    json = ", ".join(name + (value or "@") for name, value in members).replace('"', '\\"')
    before, after = json.split("@")
    parts = textwrap.wrap(f'\\"{after}', 80, break_on_hyphens=False)
    return "\n".join(
        [
            "inline error_fields refused(const std::string &message) {",
            "    error_fields into{};",
            "    into.kind = TAKINGS_ERROR_INVALID_INPUT;",
            '    into.kind_name = "invalid_input";',
            "    into.message = message;",
            f'    into.json = "{{{before}\\"" + message +',
            *(f'                "{part}"' for part in parts),
            '                "}";',
            "    return into;",
            "}",
        ]
    )


def _closer(schema: Described) -> str:
    handles = ["client", "call", "reply", "error", *map(snake, [*replies(schema), *OFFLINE])]
    lines = [
        f"    void operator()(takings_{name}_t *held) const noexcept "
        f"{{ takings_{name}_free(held); }}"
        for name in handles
    ]
    string = "    void operator()(char *held) const noexcept { takings_string_free(held); }"
    return "\n".join(["struct closer {", *lines, string, "};"])


def _read_document(record: Described) -> str:
    """Fills the facts of a reply in beside its members."""
    _head, _into, *lines = _read(record, "T").split("\n")
    return "\n".join(
        [
            "template <typename T>",
            "T read_document(const takings_document_t *from) {",
            '    T into = reader<T>::read(takings_document_at(from, "")).value_or(T{});',
            *lines,
        ]
    )


def _read(record: Described, into: str) -> str:
    name = snake(record["name"])
    lines = [
        f"inline {into} read(const takings_{name}_t *from) {{",
        f"    takings::{into} into{{}};",
    ]
    for field in fields_of(record):
        if field["only_item_of"]:
            continue
        getter = f"takings_{name}_{field['name']}"
        optional = field["optional"]
        one = f"takings_{name}_{singular(field['name'])}"
        taken = {other["name"] for other in record["fields"]}
        at = f"{one}_at" if singular(field["name"]) in taken else one
        match field["kind"]:
            case "text":
                value = f"{'optional_text' if optional else 'text'}({getter}(from))"
            case "integer" if optional:
                value = f"optional_number<{result_type(field)[14:-1]}>({getter}(from))"
            case "time":
                value = f"{'optional_' if optional else ''}time({getter}_ms(from))"
            case "duration":
                value = f"{'optional_' if optional else ''}duration({getter}_ms(from))"
            case "texts":
                value = f"texts(from, {one}_count, {at})"
            case "attempts":
                value = f"attempts(from, {getter}_count, {getter})"
            case _:
                value = f"{getter}(from)"
        lines.append(f"    into.{field['name']} = {value};")
        if field["kind"] == "error_kind":
            lines.append(f"    into.{field['name']}_name = text({getter}_name(from));")
    return "\n".join([*lines, "    return into;", "}"])


# --- members of call and client -------------------------------------------------------------------


def _results(schema: Described) -> Iterator[str]:
    for record in dict.fromkeys(operation["reply"] for operation in schema["operations"]):
        name = snake(record)
        is_document = record in schema["documents"]
        asked = f'document_of(handle_.get(), "{record}", error)'
        asked = asked if is_document else f"{name}(handle_.get(), error)"
        read = f"read_document<takings::{name}>" if is_document else "read"
        yield "\n".join(
            [
                comment(
                    f"The outcome of a call that gives {article(name)}. Throws one of the "
                    "classes of error; before TAKINGS_STEP_DONE it is outcome_unknown, for a "
                    "caller that stops waiting."
                ),
                f"takings::{name} {name}() const {{",
                "    const auto ended = detail::ask([&](takings_error_t **error) {",
                f"        return takings_call_{asked};",
                "    });",
                f"    return detail::{read}(ended.get());",
                "}",
            ]
        )


WITH_OPTIONS = """\
/* The same client with other limits, for calls that have less time than others or more: it shares
 * connections, credentials and the memory of keys. An option that is absent is as in this client.
 * Throws invalid_input, naming the option. */
client with_options(const options &changed) const {
    return with_options(detail::json::of(changed));
}

/* The same with the options as JSON text, as takings_client_with_options takes them. */
client with_options(const text &options_json) const {
    return client(detail::ask([&](takings_error_t **error) {
        const char *given = detail::c_string("options_json", options_json);
        return takings_client_with_options(handle_.get(), given, error);
    }));
}"""


def _operations(schema: Described) -> Iterator[str]:
    yield WITH_OPTIONS
    for operation in schema["operations"]:
        name = operation["name"]
        fields = flat(schema, operation)
        said = f"{spoken(operation['doc'])} It waits for the outcome, at most for the timeout."
        if operation["takes_key"]:
            said += (
                " With a key of your own (idempotency_key makes one) it can be called again after "
                "a crash: the money moves once. Without one a fresh key is made; it comes back in "
                "the result and in the error."
            )
        said += " Throws one of the classes of error."
        half = (
            f"The first half of {name}: everything that can be refused is refused here, and the "
            "key is known before anything is sent. The call is the second half, for your program "
            "to send. Throws invalid_input."
        )
        if not operation["takes_key"]:
            half = f"The first half of {name}, as prepare is that of capture. Throws invalid_input."
        reply = f"takings::{snake(operation['reply'])}"
        read = f"read_document<{reply}>" if operation["reply"] in schema["documents"] else "read"
        methods = (
            (name, reply, said, f"return detail::{read}({{}}.get());"),
            (operation["prepare"], "takings::call", half, "return takings::call({});"),
        )
        for method, gives, about, body in methods:
            yield from _methods(schema, operation, fields, method, gives, about, body)


def _methods(
    schema: Described,
    operation: Described,
    fields: list[Described] | None,
    method: str,
    gives: str,
    said: str,
    body: str,
) -> Iterator[str]:
    order = "const text &order_id"
    given = ['detail::c_string("order_id", order_id)']
    key = "const std::optional<text> &idempotency_key = std::nullopt"
    keys = [key] if operation["takes_key"] else []
    if fields is None:
        struct = snake(operation["arguments"])
        passed = ["order_id", "detail::json::of(request)", *(["idempotency_key"] if keys else [])]
        head = _head(f"{gives} {method}(", [order, f"const {struct} &request", *keys])
        yield f"{comment(said)}\n{head}\n    return {method}({', '.join(passed)});\n}}"
        yield from _by_position(schema, operation, method, gives, keys)
        said = "The same with the request as JSON text."
        parameters = [order, "const text &request_json"]
        given.append('detail::c_string("request_json", request_json)')
    else:
        types = {"text": "const text &", "integer": None}
        parameters = [order]
        for field in fields:
            text = types[field["type"]["kind"]]
            of = text or f"{value_type(field['type'], True)} "
            parameters.append(f"{of}{field['name']}")
            plain = f'detail::c_string("{field["name"]}", {field["name"]})'
            given.append(plain if text else f"{field['name']}.value()")
    if keys:
        parameters.append(key)
        given.append('detail::c_string("idempotency_key", idempotency_key)')
    call = _head(f"return takings_client_{method}(", ["handle_.get()", *given, "error"], ");")
    ask = "\n".join(
        [
            "    auto asked = detail::ask([&](takings_error_t **error) {",
            textwrap.indent(call, "        "),
            "    });",
        ]
    )
    result = body.format("std::move(asked)" if "takings::call(" in body else "asked")
    yield f"{comment(said)}\n{_head(f'{gives} {method}(', parameters)}\n{ask}\n    {result}\n}}"


def _by_position(
    schema: Described, operation: Described, method: str, gives: str, keys: list[str]
) -> Iterator[str]:
    """The method of an operation below the order, with the id behind the order's."""
    fields = schema["objects"][operation["arguments"]]["fields"]
    if operation["id"] is None or not all(field["required"] for field in fields):
        return
    names = [member(field) for field in fields]
    types = [value_type(field["type"], True) for field in fields]
    given = [f"const {of} &{name}" for of, name in zip(types, names, strict=True)]
    struct = f"{snake(operation['arguments'])}({', '.join(names)})"
    passed = ["order_id", struct, *(["idempotency_key"] if keys else [])]
    head = _head(f"{gives} {method}(", ["const text &order_id", *given, *keys])
    call = textwrap.indent(_head(f"return {method}(", passed, ");", 92), "    ")
    said = comment("The same with the arguments of the request one by one.")
    yield f"{said}\n{head}\n{call}\n}}"


def _head(start: str, parameters: list[str], end: str = ") const {", width: int = 100) -> str:
    """A call or the head of a function, its lines broken between the arguments."""
    lines, line = [], start
    for number, parameter in enumerate(parameters, 1):
        part = parameter + (", " if number < len(parameters) else end)
        if len(line) + len(part) > width and line.strip() and line != start:
            lines.append(line.rstrip())
            line = " " * len(start)
        line += part
    return "\n".join([*lines, line])

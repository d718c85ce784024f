"""The reference of each surface, as pages, from what stands beside its declarations."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path


def pages(root: Path) -> dict[str, str]:
    return {
        "reference/c.md": c((root / "include/takings.h").read_text()),
        "reference/cpp.md": cpp((root / "include/takings.hpp").read_text()),
        "reference/lua.md": lua((root / "lua/takings.d.lua").read_text()),
        "reference/python.md": python(root / "python"),
    }


def code(language: str, text: str) -> str:
    return f"```{language}\n{text}\n```\n"


def uncommented(comment: str) -> str:
    """The text of a comment of C, whose lines may begin with stars."""
    inner = re.sub(r"\A/\*+ ?|\s*\*/\Z", "", comment.strip())
    return "\n".join(re.sub(r"^ *\* ?", "", line) for line in inner.split("\n")).strip("\n")


def prose(text: str, names: Iterable[str] = ()) -> str:
    """The text of a comment as Markdown: it has been written without. Indented code stays code."""
    known = set(names)
    lines: list[str] = []
    for line in text.split("\n"):
        if line.startswith("    "):
            lines.append(line)
            continue
        line = re.sub(r"([*<\[\]\\`|~])", r"\\\1", line)
        lines.append(
            re.sub(
                r"\b\w*(?:_\w+|[a-z][A-Z]\w*)\b",
                lambda word: (
                    f"[`{word[0]}`](#{word[0].lower()})" if word[0] in known else f"`{word[0]}`"
                ),
                line,
            )
        )
    return "\n".join(lines)


# --- C --------------------------------------------------------------------------------------------


def c(header: str) -> str:
    rules = uncommented(header[: header.index("*/") + 2])
    declared = re.findall(
        r"^(/\*\*\n(?: \*(?!/)[^\n]*\n)* \*/)\n"
        r"((?:#define [^\n]*\n)+|typedef enum \{.*?\n\} \w+;|[^/#\n][^{}]*?;)$",
        header,
        re.DOTALL | re.MULTILINE,
    )
    entries = [(_c_name(text), uncommented(comment), text.strip()) for comment, text in declared]
    names = [name for name, _, _ in entries]
    groups: dict[str, list[str]] = {}
    for name, comment, text in entries:
        shown = re.sub(r"\n  /\*\*\n(.*?)\n   \*/", _c_inner, text, flags=re.DOTALL)
        entry = f"### {name}\n\n{code('c', shown)}\n{prose(comment, names)}\n"
        groups.setdefault(_c_group(name, text), []).append(entry)
    head, _, rest = rules.partition("Rules of this header")
    out = [
        "# C\n",
        f"From the comments of `takings.h`. {prose(head.strip())}\n",
        "## Rules of this header\n",
        f"{_numbered(rest.strip(), names)}\n",
    ]
    for group, members in groups.items():
        out += [f"## {group}\n", *members]
    return "\n".join(out)


def _numbered(text: str, names: Iterable[str]) -> str:
    """A numbered list, whose second lines are indented for Markdown."""
    return "\n".join(
        line if re.match(r"\d+\. ", line) else f"    {line.strip()}"
        for line in prose(text.replace("\n   ", "\n "), names).split("\n")
    )


def _c_inner(match: re.Match[str]) -> str:
    """A comment inside of an enum, in one style with the rest but smaller."""
    words = " ".join(line.strip().removeprefix("*").strip() for line in match[1].split("\n"))
    filled = textwrap.fill(
        f"/* {words}\N{NO-BREAK SPACE}*/", 92, initial_indent="  ", subsequent_indent="   * "
    )
    return "\n" + filled.replace("\N{NO-BREAK SPACE}", " ")


def _c_name(text: str) -> str:
    if text.startswith("#define"):
        return text.split()[1]
    match = re.search(r"\b(\w+)\(", text) if "{" not in text else None
    return match[1] if match else text.rstrip(";").split()[-1]


def _c_group(name: str, text: str) -> str:
    if text.startswith(("typedef", "#define")):
        return "Types"
    if name == "takings_call":
        return "Keys, amounts, texts"
    words = {
        "client": "Clients and calls",
        "capture": "A capture",
        "error": "An error",
        "attempt": "An attempt",
        "reconciliation": "A reconciliation",
        "call": "A call that your program sends",
        "reply": "A reply of any operation",
        "json": "Writing JSON",
    }
    return words.get(name.split("_")[1], "Keys, amounts, texts")


# --- C++ ------------------------------------------------------------------------------------------


def cpp(header: str) -> str:
    head = uncommented(header[: header.index("*/") + 2])
    inside = header[header.index("namespace takings {") :].split("\n\n", 1)[1]
    inside = inside[: inside.rindex("} // namespace takings")]
    inside = re.sub(
        r"^ */\* (?:generated: .*|end of generated) \*/\n", "", inside, flags=re.MULTILINE
    )
    inside = re.sub(
        r"^namespace detail \{$.*?^\} // namespace detail$",
        "",
        inside,
        flags=re.DOTALL | re.MULTILINE,
    )
    found: dict[str, list[tuple[str, str]]] = {"Types": [], "Functions": []}
    entries: dict[str, str] = {}
    for comment, text in _cpp_declarations(inside):
        type_name = re.match(r"(?:class|struct|using) (\w+)", text)
        function = re.search(r"(\w+)\(", text)
        named = type_name or function
        assert named, text
        shown = _without_bodies(text)
        entries[named[1]] = comment
        found["Types" if type_name else "Functions"].append((named[1], shown))
    out = [
        "# C++\n",
        "From the comments of `takings.hpp`; everything is in the namespace `takings`. What takes "
        "or gives text of JSON has the fields of [Klarna's request](python.md#capturerequest).\n",
        f"{prose(head)}\n",
    ]
    for group, members in found.items():
        out.append(f"## {group}\n")
        for name, shown in members:
            out.append(f"### {name}\n\n{code('cpp', shown)}\n{prose(entries[name], entries)}\n")
    return "\n".join(out)


def _cpp_declarations(text: str) -> Iterator[tuple[str, str]]:
    """Each declaration at the outermost level with the comment before it."""
    lines = text.split("\n")
    at = 0
    comment = ""
    while at < len(lines):
        if lines[at].startswith("/*"):
            end = next(n for n in range(at, len(lines)) if lines[n].rstrip().endswith("*/"))
            comment = uncommented("\n".join(lines[at : end + 1]))
            at = end + 1
        elif lines[at] and not lines[at].startswith(" "):
            end = at
            while not re.match(r"\S.*;$|\}$|\};$|\S.*\}$", lines[end]):
                end += 1
            yield comment, "\n".join(lines[at : end + 1])
            comment, at = "", end + 1
        else:
            at += 1


def _without_bodies(text: str) -> str:
    """A class as its user reads it: without what is private and without code."""
    text = re.sub(r"\nprivate:\n.*(?=\n\};)", "", text, flags=re.DOTALL).strip()
    out: list[str] = []
    at = 0
    while at < len(text):
        if text.startswith("/*", at):
            end = text.index("*/", at) + 2
            out.append(text[at:end])
            at = end
        elif text[at] == "{" and not re.search(
            r"(?:class|struct) \w+[^;{}]*$", "".join(out).rsplit("\n", 1)[-1]
        ):
            depth = 0
            while True:
                depth += {"{": 1, "}": -1}.get(text[at], 0)
                at += 1
                if depth == 0:
                    break
            declared = re.sub(r"\)\s*:\s*\w+\((?:[^;{}])*$", ")", "".join(out)).rstrip()
            out = [declared, "" if text[at : at + 1] == ";" else ";"]
        else:
            out.append(text[at])
            at += 1
    return re.sub(r"^inline ", "", "".join(out))


# --- Lua ------------------------------------------------------------------------------------------


def lua(annotations: str) -> str:
    out = [
        "# Lua\n",
        "From `takings.d.lua`, which editors read: put it where yours looks for LuaCATS "
        "definitions. A `?` marks what may be nil.\n",
    ]
    entries = [_lua_entry(paragraph.strip()) for paragraph in annotations.split("\n\n")[2:]]
    # The module's functions stand at the end of the annotations, and first on the page.
    functions = [
        entry for entry in entries if re.match(r"### takings\..*\n\n```lua\n---@[pr]", entry)
    ]
    rest = [entry for entry in entries if entry and entry not in functions]
    return "\n".join([*out, rest[0], *functions, *rest[1:]])


def _lua_entry(paragraph: str) -> str:
    lines = paragraph.split("\n")
    function = re.match(r"function ([\w.:]+)\((.*)\) end", lines[-1])
    said = [
        line.removeprefix("---")
        for line in lines
        if line.startswith("---") and not line.startswith(("---@", "---|"))
    ]
    declared = "\n".join(line for line in lines if line not in {f"---{text}" for text in said})
    if function:
        return f"### {function[1]}\n\n{code('lua', declared)}\n{_lua_prose(said)}\n"
    entries = []
    # aliases that follow each other; what is said of one stands before it
    for part in re.findall(r"(?:---[^@|].*\n)*---@(?:.*\n?(?!---@alias))+", paragraph):
        named = re.search(r"---@(class|alias) ([\w.]+)", part)
        if not named:
            return ""
        own = [line.removeprefix("---") for line in part.split("\n") if re.match(r"---[^@|]", line)]
        continued = [
            line
            for before, line in zip(part.split("\n"), part.split("\n")[1:], strict=False)
            if re.match(r"---@field|---@return", before) and re.match(r"---[^@|]", line)
        ]
        own = [line for line in own if f"---{line}" not in continued]
        shown = "\n".join(
            line for line in part.split("\n") if line not in {f"---{text}" for text in own}
        )
        level = "##" if named[1] == "class" else "###"
        entries.append(f"{level} {named[2]}\n\n{code('lua', shown)}\n{_lua_prose(own)}\n")
    return "\n".join(entries)


def _lua_prose(lines: list[str]) -> str:
    return "\n".join(line if "`" in line else prose(line) for line in lines)


# --- Python ---------------------------------------------------------------------------------------

_HOMES = {
    "takings": [
        "_takings.pyi",
        "_operations.py",
        "_asynchronous.py",
        "outcomes.pyi",
        "request.py",
        "steps.pyi",
    ],
    "takings.testing": ["testing.py", "_sandbox.py"],
}


def python(folder: Path) -> str:
    """Every name that the package exports, with its signature and what stands below it."""
    out = ["# Python\n", "From the package's own documentation, as `help(takings)` shows it.\n"]
    for module, homes in _HOMES.items():
        home = folder / "takings" / ("__init__.py" if module == "takings" else homes[0])
        trees = [ast.parse((folder / "takings" / name).read_text()) for name in homes]
        out += [f"## {module}\n", f"{_markdown(ast.get_docstring(ast.parse(home.read_text())))}\n"]
        for name in exported(home):
            entry = [node for tree in trees for node in tree.body if _defines(node, name)]
            out.append(_python_entry(name, entry, trees, set(exported(home))))
    plugin = folder / "pytest_takings/__init__.py"
    tree = ast.parse(plugin.read_text())
    out += ["## pytest_takings\n", f"{_markdown(ast.get_docstring(tree))}\n"]
    for name in exported(plugin):
        out.append(
            _python_entry(name, [node for node in tree.body if _defines(node, name)], [tree], set())
        )
    return "\n".join(out)


def exported(module: Path) -> list[str]:
    for node in ast.parse(module.read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            names: list[str] = ast.literal_eval(node.value)
            return names
    raise ValueError(f"{module} exports nothing")


def _defines(node: ast.stmt, name: str) -> bool:
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return node.name == name
    if isinstance(node, ast.AnnAssign):
        return ast.unparse(node.target) == name
    return isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name


def _markdown(docstring: str | None) -> str:
    """A docstring, which is Markdown but for its lists, that follow a paragraph at once."""
    return re.sub(r"^(?![- ])(.+)\n(- )", r"\1\n\n\2", docstring or "", flags=re.MULTILINE)


def _python_entry(
    name: str, nodes: list[ast.stmt], trees: list[ast.Module], exports: set[str]
) -> str:
    assert nodes, f"{name} is exported and defined nowhere"
    if not isinstance(nodes[-1], ast.ClassDef):
        # two underscores around a name would make it bold
        title = name.replace("_", "\\_") if name.startswith("__") else name
        return f"### {title}\n\n{_python_functions(nodes, trees[0])}"
    node = nodes[-1]
    bases = [ast.unparse(base) for base in (*node.bases, *node.keywords)]
    decorators = [
        f"@{ast.unparse(each)}\n"
        for each in node.decorator_list
        if "dataclass" in ast.unparse(each)
    ]
    head = f"class {name}({', '.join(bases)})" if bases else f"class {name}"
    out = [f"### {name}\n", code("python", "".join(decorators) + head)]
    out += [f"{_markdown(ast.get_docstring(node))}\n", *_python_fields(node, trees)]
    methods: dict[str, list[ast.stmt]] = {}
    # Members of a class that is not exported, such as the compiled half of the same name.
    halves = [
        other
        for tree in trees
        for other in tree.body
        if isinstance(other, ast.ClassDef)
        and (other.name == name or other.name in set(bases) - exports)
    ]
    for class_ in [node, *(other for other in halves if other is not node)]:
        known = set(methods)
        for member in class_.body:
            if not isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if member.name not in known:
                methods.setdefault(member.name, []).append(member)
    for method, overloads in methods.items():
        if method == "__init__" or not method.startswith("_"):
            title = name if method == "__init__" else method
            out.append(f"#### {name}.{title}\n" if method != "__init__" else "")
            out.append(_python_functions(overloads, trees[0]))
    return "\n".join(part for part in out if part)


def _python_fields(node: ast.ClassDef, trees: list[ast.Module]) -> list[str]:
    """The attributes of a class with what stands below each, and those of a private base."""
    lines: list[str] = []
    for base in node.bases:
        for tree in trees:
            for other in tree.body:
                private = isinstance(other, ast.ClassDef) and other.name.startswith("_")
                if private and _defines(other, ast.unparse(base)):
                    assert isinstance(other, ast.ClassDef)
                    lines += _python_fields(other, trees)
    for number, member in enumerate(node.body):
        if not isinstance(member, ast.AnnAssign) or ast.unparse(member.target).startswith("_"):
            continue
        after = node.body[number + 1] if number + 1 < len(node.body) else None
        said = ""
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            said = " ".join(str(after.value.value).split())
        annotation = ast.unparse(member.annotation)
        line = f"- `{ast.unparse(member.target)}: {annotation}`"
        lines.append(f"{line}: {said}" if said else line)
    return ["\n".join(lines) + "\n"] if lines else []


def _python_functions(nodes: list[ast.stmt], tree: ast.Module) -> str:
    shown: list[str] = []
    docstring = None
    overloaded = any("overload" in ast.unparse(node).split("\n")[0] for node in nodes)
    for node in nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node) or docstring
            # The function behind overloads is nobody's to call.
            if not overloaded or "overload" in map(ast.unparse, node.decorator_list):
                shown.append(_python_signature(node))
        else:
            shown.append(ast.unparse(node))
            below = tree.body[tree.body.index(node) + 1] if node in tree.body[:-1] else None
            if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
                docstring = str(below.value.value)
    return f"{code('python', chr(10).join(shown))}\n{_markdown(docstring)}\n"


def _python_signature(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    decorators = [ast.unparse(each) for each in node.decorator_list]
    kept = [f"@{each}\n" for each in decorators if each in ("property", "classmethod")]
    word = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    arguments = [
        re.sub(r"^([^=]*:[^=]*)=", r"\1 = ", argument)
        for argument in _split(ast.unparse(node.args))
    ]
    line = f"{word} {node.name}({', '.join(arguments)}){returns}"
    if len(line) > 92:
        # Each argument has a line, as the formatter writes them.
        spread = "".join(f"    {argument},\n" for argument in arguments)
        line = f"{word} {node.name}(\n{spread}){returns}"
    return "".join(kept) + line


def _split(arguments: str) -> list[str]:
    """Splits at the commas that are in no brackets."""
    parts = [""]
    depth = 0
    for character in arguments:
        depth += {"[": 1, "(": 1, "]": -1, ")": -1}.get(character, 0)
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]

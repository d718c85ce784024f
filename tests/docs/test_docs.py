"""The documents' site, as `make docs` built it, and every block of code on its pages."""

from __future__ import annotations

import contextlib
import inspect
import io
import os
import re
import socket
import subprocess
import sys
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import takings
import takings.testing
from takings.testing import KlarnaSandbox

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "docs"))

import build
import reference
import test_ledger
import test_operations

ROOT = build.ROOT
BUILT = build.TARGET / "docs"
SITE = build.Site()
ORDER_ID = "f3392f8b-6116-4073-ab96-e330819e2c07"


# --- the site -------------------------------------------------------------------------------------


class Html(HTMLParser):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        # addresses that a browser fetches by itself
        self.fetched: list[str] = []
        self.text = path.read_text()
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.ids |= {values.get("id", ""), values.get("name", "")}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag == "link" and values.get("rel") not in ("canonical", "next", "prev"):
            self.fetched.append(values.get("href", ""))
        if "src" in values:
            self.fetched.append(values["src"])


@pytest.fixture(scope="module")
def pages() -> dict[Path, Html]:
    assert (BUILT / "index.html").exists(), "`make docs` builds what these tests look at"
    found = [path for path in BUILT.rglob("*.html") if "src" not in path.relative_to(BUILT).parts]
    return {path: Html(path) for path in found}


def ours(pages: dict[Path, Html]) -> dict[Path, Html]:
    return {path: html for path, html in pages.items() if not path.is_relative_to(BUILT / "rust")}


def test_what_is_looked_at_is_what_the_sources_say() -> None:
    for name in SITE.pages:
        assert (BUILT.parent / "docs-pages/pages" / name).read_text() == SITE.text(name)
        assert (BUILT / name).with_suffix(".html").exists()


def test_every_page_is_in_the_navigation() -> None:
    listed = re.findall(r'"([\w/-]+\.md)"', (ROOT / "docs/zensical.toml").read_text())
    assert sorted(listed) == sorted(SITE.pages)


def test_the_home_page_begins_with_code() -> None:
    title, _, rest = SITE.pages["index.md"].text.partition("\n\n")
    assert (title, rest.startswith("```python\nimport takings\n")) == ("# takings", True)


@pytest.mark.parametrize("page", sorted((ROOT / "docs/surfaces").glob("[!i]*.md")), ids=str)
def test_each_language_s_page_leads_from_install_to_logs(page: Path) -> None:
    text = SITE.pages[f"surfaces/{page.name}"].text
    titles = [title for depth, title in build.headings(text) if depth == 2]
    wanted = ["Install", "First call", "Testing", "Logs"]
    assert [title for title in titles if title in wanted] == wanted
    first = text.partition("\n## First call\n")[2].partition("\n## ")[0]
    assert "```" in first


def test_links_lead_somewhere(pages: dict[Path, Html]) -> None:
    broken = []
    for path, html in ours(pages).items():
        if path.name == "404.html":
            # its links are from the root of a server
            continue
        for link in html.links:
            parts = urllib.parse.urlsplit(link)
            if parts.scheme:
                continue
            target = (path.parent / parts.path).resolve() if parts.path else path
            if target.is_dir():
                target /= "index.html"
            if target not in pages or (parts.fragment and parts.fragment not in pages[target].ids):
                broken.append(f"{path.relative_to(BUILT)}: {link}")
    assert not broken


def test_links_to_the_repository_are_links_to_something() -> None:
    address = re.compile(rf"{build.REPOSITORY}/(?:blob|tree)/main/([^)#\s]+)")
    for name in SITE.pages:
        for path in address.findall(SITE.text(name)):
            assert (ROOT / path).exists(), f"{name}: {path}"


def test_nobody_else_hears_of_a_reader(pages: dict[Path, Html]) -> None:
    for path, html in pages.items():
        for fetched in html.fetched:
            assert not re.match(r"(?:[a-z]+:)?//", fetched), f"{path}: {fetched}"
    for path, html in ours(pages).items():
        # these make the theme's script fetch more
        for word in ('data-md-component="source"', "glightbox", 'class="mermaid"', "pyodide"):
            assert word not in html.text, f"{path}: {word}"
    for style in BUILT.rglob("*.css"):
        assert not re.search(r"(?:@import|url\()\s*[\"']?(?:https?:)?//", style.read_text()), style


def test_it_can_be_opened_from_a_folder(pages: dict[Path, Html]) -> None:
    for path, html in ours(pages).items():
        if path.name != "404.html":
            assert any(fetched.endswith("assets/worker.js") for fetched in html.fetched), path
            assert all((path.parent / fetched).exists() for fetched in html.fetched if fetched)


def test_programs_that_read_find_every_page() -> None:
    text = (BUILT / "llms.txt").read_text()
    assert text == SITE.llms()
    entries = re.findall(r"^- \[(.+?)\]\((\S+)\): (.+)$", text, re.MULTILINE)
    assert len(entries) == sum(line.startswith("- ") for line in text.splitlines())
    assert sorted(name for _, name, _ in entries) == sorted(SITE.pages)
    for title, name, line in entries:
        assert (BUILT / name).read_text() == SITE.text(name)
        assert f"# {title}\n" in SITE.text(name)
        assert 20 <= len(line) <= 300, f"{name}: {line}"
        assert re.search(r"[.?]$", line), f"{name}: {line}"


# --- the reference --------------------------------------------------------------------------------


def written(page: str) -> str:
    return SITE.pages[f"reference/{page}.md"].text


def test_the_reference_has_all_of_c() -> None:
    abi = (ROOT / "ffi-c/abi.txt").read_text()
    functions = re.findall(r"(\w+)\(", abi)
    constants = re.findall(r"^\w+ (TAKINGS_\w+) =", abi, re.MULTILINE)
    assert len(functions) > 80
    assert len(constants) > 10
    header = (ROOT / "include/takings.h").read_text()
    types = re.findall(r"^(?:typedef struct \w+|\}) (\w+);", header, re.MULTILINE)
    for name in functions + types:
        assert f"\n### {name}\n\n```c\n" in written("c"), name
    for name in constants:
        assert f"{name} =" in written("c"), name
    assert set(functions) == set(re.findall(r"\b(takings_\w+)\(", code_of("c"))), "no more, no less"


def code_of(page: str) -> str:
    return "".join(block.text for block in SITE.pages[f"reference/{page}.md"].blocks)


def test_the_reference_has_all_of_cpp() -> None:
    header = (ROOT / "include/takings.hpp").read_text()
    outside = re.sub(
        r"^namespace detail \{$.*?^\} // namespace detail$", "", header, flags=re.DOTALL | re.M
    )
    outside = re.sub(r"^private:$.*?^\};$", "", outside, flags=re.DOTALL | re.M)
    names = re.findall(r"^(?:class|struct|using|inline [\w:]+) (\w+)", outside, re.M)
    members = re.findall(r"^    (?! |return)[\w:<>&*, ]+[ &*](\w+)\([^;]*?\{", outside, re.M)
    assert {"client", "minor", "capture_request", "outcome_unknown"} <= set(names)
    assert {"capture", "prepare_reconcile", "answer_body", "retryable"} <= set(members)
    for name in names:
        assert f"\n### {name}\n\n```cpp\n" in written("cpp"), name
    for name in members:
        assert re.search(rf"\b{name}\([^;]*;", code_of("cpp")), name
    for line in code_of("cpp").splitlines():
        assert not re.match(r" +return\b", line), f"code is nobody's reference: {line}"


def test_the_reference_has_all_of_python() -> None:
    text = written("python").replace("\\_", "_")
    for module in (takings, takings.testing):
        for name in module.__all__:
            [entry] = re.findall(
                rf"\n### {name}\n(.*?)(?=\n##+ (?!#)|\Z)", f"{text}\n### ", re.DOTALL
            )[:1]
            assert "```python" in entry, name
            thing = getattr(module, name)
            if inspect.isclass(thing):
                assert_members(name, thing, text)
    for fixture in ("klarna_sandbox", "klarna_env"):
        assert f"\n### {fixture}\n" in text


def assert_members(name: str, thing: type, text: str) -> None:
    section = text.split(f"\n### {name}\n")[1].split("\n### ")[0]
    # of the compiled classes the stub is the manual, and a dataclass may have none
    if thing.__doc__ and "see the stub" not in thing.__doc__:
        first = inspect.cleandoc(thing.__doc__).splitlines()[0]
        assert first in section or first.startswith(f"{name}("), name
    for member in {*vars(thing), *getattr(thing, "__annotations__", {})}:
        if member.startswith("_"):
            continue
        assert (
            f"#### {name}.{member}\n" in section
            or f"- `{member}: " in section
            or (
                # the kind of an error, or the sandbox's own credentials
                member in ("kind", "retryable", "username", "password")
            )
        ), f"{name}.{member}"


def test_the_reference_has_all_of_lua() -> None:
    declared = (ROOT / "lua/takings.d.lua").read_text()
    functions = re.findall(r"^function ([\w.:]+)\(", declared, re.MULTILINE)
    types = re.findall(r"^---@(?:class|alias) ([\w.]+)", declared, re.MULTILINE)
    # The names of the module; lua/tests/annotations_test.lua compares the rest.
    listing = "for name, what in pairs(require 'takings') do print(type(what), name) end"
    told = subprocess.run(
        ["lua5.4", "-e", listing],
        env={**os.environ, "LUA_CPATH": str(build.TARGET / "lua/5.4/?.so")},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    functions += [f"takings.{name}" for name in re.findall(r"^function\s+(\w+)$", told, re.M)]
    assert len(functions) > 20
    for name in functions:
        assert re.search(rf"\n### {name}\n\n```lua\n(?:---.*\n)*function {name}\(", written("lua"))
    for name in types:
        assert re.search(rf"\n###? {name}\n\n```lua\n---@", written("lua")), name


def test_the_reference_has_all_of_rust() -> None:
    source = (ROOT / "core/src/lib.rs").read_text()
    # the bindings' own is hidden
    shown = re.findall(r"(?<!hidden\)\]\n)^pub use (?:\w+::)+([^;]*);", source, re.M)
    exported = re.findall(r"\w+", " ".join(shown))
    assert len(exported) > 25
    kinds = {page.name.partition(".")[2] for page in (BUILT / "rust/takings").glob("*.html")}
    for name in exported:
        assert f"{name}.html" in kinds, name


# --- the blocks of code ---------------------------------------------------------------------------

# The tests that run the blocks of each README. They refuse a block that they do not know.
RUN_BY = {
    ("README.md", "sh"): "tests/readme.rs",
    ("examples/README.md", "c"): "tests/readme.rs",
    ("examples/README.md", "cpp"): "tests/readme.rs",
    ("examples/README.md", "lua"): "tests/readme.rs",
    ("examples/README.md", "python"): "tests/readme.rs",
    ("examples/README.md", "rust"): "tests/readme.rs",
    ("cli/service/Dockerfile", "dockerfile"): "tests/dist/test_program.py",
    ("cli/service/takings-worker.service", "ini"): "tests/dist/test_program.py",
    ("docs/install.md", "sh"): "tests/dist/conftest.py",
    ("examples/monitoring/takings-status.service", "ini"): "tests/ledger/test_status.py",
    ("examples/monitoring/takings-status.timer", "ini"): "tests/ledger/test_status.py",
    ("examples/monitoring/takings.rules.yaml", "yaml"): "tests/ledger/test_status.py",
    ("ffi-c/README.md", "c"): "ffi-c/tests/readme.rs",
    ("ffi-c/README.md", "cmake"): "tests/hosts/test_readme.py",
    ("ffi-c/README.md", "ini"): "tests/hosts/test_php.py",
    ("ffi-c/README.md", "php"): "tests/hosts/test_readme.py",
    ("ffi-c/README.md", "sh"): "tests/hosts/test_readme.py",
    ("lua/README.md", "lua"): "lua/tests/readme_test.lua",
    ("lua/README.md", "nginx"): "tests/hosts/test_nginx.py",
    ("python/README.md", "python"): "python/tests/test_readme.py",
    ("sandbox/README.md", "rust"): "sandbox/src/lib.rs",
    ("sandbox/README.md", "sh"): "sandbox/tests/suite/readme.rs",
}
# Those that are run below.
BELOW = {
    ("docs/start.md", "sh"),
    ("docs/surfaces/rust.md", "toml"),
    ("examples/hosts/celery/celeryconfig.py", "python"),
}
# A program in C++, in blocks, and what it prints.
IN_CPP = "docs/shop-cpp.md"
BLOCKS = [(page, block) for page, found in SITE.pages.items() for block in found.blocks]


def is_run(block: build.Block) -> bool:
    key = (block.origin, block.language)
    if key in RUN_BY:
        named = "README" if block.origin.endswith("README.md") else block.origin
        return named in (ROOT / RUN_BY[key]).read_text()
    if block.origin.startswith("examples/hosts/") and key not in BELOW:
        folder = Path(block.origin).parent.name
        tests = [path.read_text() for path in (ROOT / "tests/hosts").glob("*.py")]
        return block.text == (ROOT / block.origin).read_text() and any(
            f'"{folder}"' in test or f"/{folder}" in test or f"'{folder}'" in test for test in tests
        )
    if block.origin.startswith("examples/ledger/"):
        # The tests run each with_… there is and each query of the relay.
        tests = [path.read_text() for path in (ROOT / "tests/fleet").glob("test_*.py")]
        name = Path(block.origin).stem.removeprefix("with_")
        return any(name in test for test in tests)
    if block.origin == "reference":
        return True
    if block.origin.startswith("docs/ledger/"):
        is_file = test_ledger.file_of(block) is not None
        return is_file or block.language in ("sh", "text")
    if block.origin.startswith("docs/operations/"):
        return block.language in (*test_operations.LANGUAGES, "text")
    if block.origin.startswith("docs/") and block.language == "python":
        return True
    if block.origin == IN_CPP:
        return block.language in ("cpp", "text")
    if block.origin.startswith("docs/") and block.language == "text":
        return bool(block.said) or block.origin in PRINTING
    return key in BELOW


def test_no_block_is_one_that_nobody_runs() -> None:
    assert len(BLOCKS) > 300
    assert [f"{page}: {block}" for page, block in BLOCKS if not is_run(block)] == []


def test_no_fence_is_overlooked() -> None:
    for name, page in SITE.pages.items():
        fences = len(re.findall(r"^ *```", page.text, re.MULTILINE))
        assert fences == 2 * len(page.blocks), name


def test_comments_in_code_are_no_wider_than_a_narrow_page() -> None:
    """A reader would have to move long lines; a command in a comment stays as it is typed."""
    comment = re.compile(r"^\s*(?:#|//|/?\*|--)\s(?!  )|\s(?:#|//|--|/\*)\s")
    wide = {
        (block.origin, line)
        for _, block in BLOCKS
        if block.origin != "reference"
        for line in block.text.split("\n")
        if len(line) > 80 and comment.search(line) and not re.match(r"\s*(?:#|\*)   ", line)
    }
    assert not wide


# Pages of this folder with programs in Python: what they print stands below each.
PRINTING = sorted(
    {
        block.origin
        for _, block in BLOCKS
        if block.origin.startswith("docs/")
        and not block.origin.startswith(("docs/ledger/", "docs/operations/"))
        and block.language == "python"
    }
)


@pytest.mark.parametrize("origin", PRINTING)
def test_a_page_s_programs_print_what_stands_below(origin: str) -> None:
    blocks = [block for _, block in BLOCKS if block.origin == origin]
    space: dict[str, Any] = {}
    printed: str | None = None
    for block in blocks:
        if block.language == "python":
            assert printed is None, f"nothing below says {printed}"
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(compile(block.text, origin, "exec"), space)
            printed = out.getvalue() or None
        elif block.language == "text":
            assert block.text == printed
            printed = None
    assert printed is None


def test_the_shop_in_cpp_prints_what_stands_below(tmp_path: Path) -> None:
    blocks = [block for _, block in BLOCKS if block.origin == IN_CPP]
    source, program = tmp_path / "shop.cpp", tmp_path / "shop"
    source.write_text("".join(block.text for block in blocks if block.language == "cpp"))
    command = [*test_operations.compiler("cpp", source), "-o", program]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    with KlarnaSandbox() as sandbox:
        usual = {name: text for name, text in os.environ.items() if not name.startswith("KLARNA_")}
        ran = subprocess.run(
            [program, sandbox.create_order(10000)],
            env={**usual, **sandbox.env},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        assert ran.stdout == "".join(block.text for block in blocks if block.language == "text")
        assert sandbox.audit() == []


# --- the errors -----------------------------------------------------------------------------------

MESSAGES = [
    (page, block)
    for page, block in BLOCKS
    if block.origin.startswith("docs/errors/") and block.language == "text"
]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[KlarnaSandbox]:
    with KlarnaSandbox() as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def tls() -> Iterator[str]:
    """The address of a sandbox with a certificate that is not trusted."""
    with subprocess.Popen(
        [sys.executable, "-m", "takings", "sandbox", "--port", "0", "--tls", "--parent-watch"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout
        yield program.stdout.readline().strip()
        program.terminate()


@pytest.fixture
def refusing_proxy() -> Iterator[Callable[[int], str]]:
    """Starts a proxy that answers every CONNECT with a status."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve(status: int) -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        connection.recv(8192)
                        connection.sendall(f"HTTP/1.1 {status} No\r\n\r\n".encode())

        def start(status: int) -> str:
            threading.Thread(target=serve, args=(status,), daemon=True).start()
            return f"http://127.0.0.1:{listener.getsockname()[1]}"

        yield start
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(("page", "block"), MESSAGES)
def test_an_error_says_what_its_page_says(
    page: str,
    block: build.Block,
    sandbox: KlarnaSandbox,
    tls: str,
    refusing_proxy: Callable[[int], str],
) -> None:
    """The comment in front of each message makes the call that ends in it."""
    sandbox.reset()
    clients: dict[str, takings.Client] = {}

    def client(**settings: Any) -> takings.Client:
        return clients.setdefault(repr(settings), sandbox.client(**settings))

    def order(**fields: Any) -> None:
        sandbox.create_order(6000, order_id=ORDER_ID, **fields)

    def capture(settings: Any = None, **fields: Any) -> None:
        request = {"captured_amount": 6000, **fields}
        key = takings.idempotency_key(ORDER_ID, "parcel-1")
        # Arguments that type checkers would refuse are refused at run time as well.
        call: Any = client(**settings or {}).capture
        call(ORDER_ID, request, idempotency_key=key)

    def call(operation: str, **fields: Any) -> None:
        getattr(client(), operation)(ORDER_ID, **fields)

    def fault(faults: Any) -> None:
        for each in faults if isinstance(faults, list) else [faults]:
            sandbox.fault(ORDER_ID, each)

    assert block.said, "a message without the call that ends in it"
    names = {
        "call": call,
        "capture": capture,
        "client": client,
        "fault": fault,
        "order": order,
        "order_id": ORDER_ID,
        "refusing_proxy": refusing_proxy,
        "takings": takings,
        "tls_sandbox": lambda: tls,
    }
    with pytest.raises(takings.TakingsError) as caught:
        exec(block.said, names)
    # the ports are free, and so others each time
    message = str(caught.value).replace(tls.partition("//")[2], "127.0.0.1:8443")
    message = message.replace(sandbox.url.partition("//")[2], "127.0.0.1:8080")
    message = re.sub(r"(?<=the proxy 127\.0\.0\.1:)\d+", "3128", message)
    assert f"{message}\n" == block.text
    assert caught.value.kind == Path(page).stem


@pytest.mark.parametrize(
    "page", sorted((ROOT / "docs/errors").glob("*.md")), ids=lambda page: page.stem
)
def test_each_case_has_a_heading_of_its_own(page: Path) -> None:
    """Others can link to a case then: behind a heading texts follow each other without prose."""
    _, _, cases = page.read_text().partition("## What it looks like\n")
    for case in re.split(r"^### ", cases, flags=re.MULTILINE)[1:]:
        between = case.split("```text\n")[1:]
        prose = [re.sub(r"<!-- .* -->", "", text.partition("```")[2]).strip() for text in between]
        assert not any(prose[:-1]), case.splitlines()[0]
    before, _, _ = cases.partition("### ")
    assert "```" not in before


def test_every_kind_has_a_page() -> None:
    kinds = re.findall(r'^    \w+ = "(\w+)",$', (ROOT / "core/src/error.rs").read_text(), re.M)
    assert len(kinds) == 5
    for kind in kinds:
        assert f"# {kind}\n" in (ROOT / f"docs/errors/{kind}.md").read_text()
        assert [page for page, _ in MESSAGES if page == f"errors/{kind}.md"], kind


# --- what a new user types ------------------------------------------------------------------------


def test_five_minutes(tmp_path: Path) -> None:
    [[*blocks]] = [
        [b for b in page.blocks] for name, page in SITE.pages.items() if name == "start.md"
    ]
    [program] = [block.text for block in blocks if block.language == "python"]
    (tmp_path / "shop.py").write_text(program)
    script = "\n".join(block.text for block in blocks if block.language == "sh")
    # Replacements: `make test` has built all, a person waits between two lines, the port is free.
    for line, instead in [
        ("make build\n", f"cd '{ROOT}'\n"),
        ('target/python/bin:$PATH"\n', f'target/python/bin:$PATH"\ncd "{tmp_path}"\n'),
        (
            "takings-sandbox --port 8181 &\n",
            "takings-sandbox --port 0 >url &\n"
            "for try in $(seq 200); do [ -s url ] && break; sleep 0.05; done\n"
            "port=$(sed 's/.*://' url)\n",
        ),
    ]:
        assert script.count(line) == 1, line
        script = script.replace(line, instead)
    script = f"set -e\ntrap 'kill %1' EXIT\n{script.replace('8181', '${port}')}"
    usual = {name: value for name, value in os.environ.items() if not name.startswith("KLARNA_")}
    run = subprocess.run(
        ["bash", "-c", script], cwd=ROOT, env=usual, capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stdout + run.stderr
    first, second = re.findall(r"captured as (\S+)", run.stdout)
    ledger = run.stdout.splitlines()[-1]
    assert first == second
    assert re.findall(r'"capture_id": ?"([^"]+)"', ledger) == [first]


def test_the_rust_dependency_is_one(tmp_path: Path) -> None:
    """The lines of the page make a project that has the crate, without asking a registry."""
    [lines] = [block.text for _, block in BLOCKS if block.origin == "docs/surfaces/rust.md"]
    (tmp_path / "takings").symlink_to(ROOT)
    shop = tmp_path / "shop"
    (shop / "src").mkdir(parents=True)
    (shop / "src/main.rs").write_text("fn main() {}\n")
    package = '[package]\nname = "shop"\nversion = "0.1.0"\nedition = "2024"\n'
    (shop / "Cargo.toml").write_text(f"{package}\n{lines}")
    (shop / "Cargo.lock").write_bytes((ROOT / "Cargo.lock").read_bytes())
    tree = subprocess.run(
        ["cargo", "tree", "--offline", "--depth", "1", "--prefix", "none"],
        cwd=shop,
        capture_output=True,
        text=True,
        check=False,
    )
    assert re.search(r"^takings v\d", tree.stdout, re.MULTILINE), tree.stderr


def test_celery_s_broker_is_one() -> None:
    from celery import Celery

    [block] = [block for _, block in BLOCKS if block.origin.endswith("celeryconfig.py")]
    settings: dict[str, Any] = {}
    exec(block.text, settings)
    app = Celery("shop")
    app.conf.update({name: settings[name] for name in settings if name.startswith("broker")})
    connection = app.connection_for_write()
    assert (connection.transport_cls, connection.hostname) == ("amqp", "localhost")


def test_the_reference_s_functions_are_read(tmp_path: Path) -> None:
    """A generator that overlooks what is new would leave the tests above content."""
    header = "/**\n * What it does.\n */\nvoid takings_new_thing(int one);\n"
    whole = (ROOT / "include/takings.h").read_text().replace("#ifdef __cplusplus", header, 1)
    assert "### takings_new_thing\n\n```c\nvoid takings_new_thing(int one);\n" in reference.c(whole)

"""The pages about operations: each sample is run in its language, and each refusal is met."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import takings
from takings.testing import KlarnaSandbox

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "docs"))

import build
import operations

ROOT = build.ROOT
DEBUG = build.TARGET / "debug"
ORDER_ID = "f3392f8b-6116-4073-ab96-e330819e2c07"
INDEX = (ROOT / "docs/operations/index.md").read_text()
RELEASE = "release_remaining_authorization"
CAPTURE_ID = "4ba29b50-be7b-44f5-a492-113e6a865e22"
SITE = build.Site()
PAGES = {
    path.stem: path.read_text()
    for path in sorted((ROOT / "docs/operations").glob("*.md"))
    if path.stem not in ("index", "objects", "check_capture", "intent")
}
# Functions without a request of their own. Their pages have samples, and no row of the table.
OFFLINE = {
    name: (ROOT / f"docs/operations/{name}.md").read_text() for name in ("check_capture", "intent")
}


def sample(name: str, language: str) -> str | None:
    """The sample of a page in that language, without the page's indentation."""
    found = [
        block.text
        for block in SITE.pages[f"operations/{name}.md"].blocks
        if block.language == language
    ]
    assert len(found) <= 1, f"{name}: {len(found)} samples in {language}"
    return found[0] if found else None


LANGUAGES = ["python", "lua", "cpp", "c", "rust"]
SAMPLES = [
    (name, language)
    for name in [*PAGES, *OFFLINE]
    for language in LANGUAGES
    if sample(name, language)
]


# --- the table ------------------------------------------------------------------------------------


def test_every_operation_has_a_page_and_a_line_in_the_list() -> None:
    assert {*PAGES, "reconcile", "reconcile_refund"} == set(operations.table())
    lists = re.findall(
        r"<!-- table: list (.*) -->", (ROOT / "docs/operations/index.md").read_text()
    )
    assert sorted(" ".join(lists).split()) == sorted(operations.table())


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_everything(name: str) -> None:
    text = SITE.pages[f"operations/{name}.md"].text
    operation = operations.table()[name]
    titles = [title for depth, title in build.headings(text) if depth == 2]
    wanted = ["Arguments", "Reply", "Refusals", "A repeat, and an unknown outcome"]
    assert titles == wanted + (["Its key"] if operation["takes_key"] else [])
    assert f"`{operation['method']} {operations.ORDER}{operation['path']}`" in text
    for language in ("python", "lua", "cpp", "rust"):
        assert sample(name, language), language
    for field in operations.schema()["objects"][operation["arguments"]]["fields"]:
        assert f"| `{field['name']}`" in text


def test_the_objects_of_arguments_have_a_section() -> None:
    text = SITE.pages["operations/objects.md"].text
    for name in operations.OBJECTS:
        for field in operations.schema()["objects"][name]["fields"]:
            assert f"\n| `{field['name']}`" in text, f"{name}: {field['name']}"


@pytest.mark.parametrize("name", operations.KEY_WORDS)
def test_a_key_is_derived_as_its_page_says(name: str) -> None:
    capture_id = CAPTURE_ID if "{capture_id}" in operations.table()[name]["path"] else None
    derived = takings.idempotency_key(ORDER_ID, "a-name", operation=name, capture_id=capture_id)
    below = f"{capture_id}/" if capture_id else ""
    namespace = uuid.UUID("8f0b7c0e-51d4-4f0a-9c53-2b6fd0a174e6")
    text = f"{operations.KEY_WORDS[name]}/{ORDER_ID}/{below}a-name"
    assert derived == str(uuid.uuid5(namespace, text))


def test_every_operation_that_takes_a_key_has_a_key_word() -> None:
    taking = {name for name, operation in operations.table().items() if operation["takes_key"]}
    assert set(operations.KEY_WORDS) == taking


def test_users_of_other_clients_find_every_call() -> None:
    older = (ROOT / "docs/from-kco-rest.md").read_text()
    for name in operations.table():
        assert f"`{name}(" in older or name in ("reconcile", "reconcile_refund"), name


# --- the samples ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sandbox() -> Iterator[KlarnaSandbox]:
    with KlarnaSandbox() as sandbox:
        yield sandbox


def made(sandbox: KlarnaSandbox, name: str) -> dict[str, str]:
    """An order in the state that the page names, and its ids."""
    [state] = re.findall(r"^<!-- order: (\w+) -->$", (PAGES | OFFLINE)[name], re.MULTILINE)
    sandbox.reset()
    sandbox.create_order(10000, order_id=ORDER_ID)
    ids = {"order_id": ORDER_ID, "capture_id": CAPTURE_ID, "refund_id": CAPTURE_ID}
    assert state in ("new", "part", "refunded")
    with sandbox.client() as client:
        if state != "new":
            capture = client.capture(ORDER_ID, captured_amount=6000, reference="parcel-1")
            ids["capture_id"] = capture.capture_id
        if state == "refunded":
            refund = client.refund(ORDER_ID, refunded_amount=1500, reference="return-1")
            assert refund.refund_id
            ids["refund_id"] = refund.refund_id
    return ids


PRELUDES = {
    "lua": """
local takings = require "takings"
local client = assert(takings.client_from_env())
local order_id, capture_id, refund_id = arg[2], arg[3], arg[4]
""",
    "cpp": """
#include <iostream>
#include <string>
#include "takings.hpp"
""",
    "c": """
#include <stdio.h>
#include <string.h>
#include "takings.h"
static void parse(const char *json) { (void)json; }
""",
    "rust": "#![allow(unused)]\nuse takings::Client;\n",
}
FUNCTIONS = {
    "cpp": "static void run_{name}(const takings::client &client, const std::string &order_id,"
    " const std::string &capture_id, const std::string &refund_id) {{\n"
    "(void)client; (void)capture_id; (void)refund_id;\n{sample}}}\n",
    "c": "static takings_error_t *run_{name}(const takings_client_t *client, const char *order_id,"
    " const char *capture_id) {{\ntakings_error_t *error = NULL;\n"
    "(void)client; (void)capture_id;\n{sample}return error;\n}}\n",
    "rust": "fn run_{name}(client: &Client, order_id: &str, capture_id: &str, refund_id: &str)"
    " -> Result<(), takings::Error> {{\n{sample}Ok(())\n}}\n",
}
CALLS = {
    "cpp": '    if (wanted == "{name}") run_{name}(client, argv[2], argv[3], argv[4]);\n',
    "c": '    if (strcmp(argv[1], "{name}") == 0) error = run_{name}(client, argv[2], argv[3]);\n',
    "rust": '        "{name}" => run_{name}(&client, &given[2], &given[3], &given[4]),\n',
}
MAINS = {
    "cpp": """int main(int, char **argv) {{
    const std::string wanted = argv[1];
    const takings::client client = takings::client::from_env();
{calls}}}
""",
    "c": """int main(int argc, char **argv) {{
    takings_error_t *error = NULL;
    takings_client_t *client = takings_client_from_env(NULL, &error);
    (void)argc;
    if (client == NULL) return 2;
{calls}    if (error != NULL) fprintf(stderr, "%s\\n", takings_error_message(error));
    takings_client_free(client);
    return error != NULL;
}}
""",
    "rust": """fn main() -> Result<(), takings::Error> {{
    let given: Vec<String> = std::env::args().collect();
    let client = Client::new(takings::Config::from_env()?)?;
    match given[1].as_str() {{
{calls}        _ => panic!(),
    }}
}}
""",
}


def compiler(language: str, source: Path) -> list[str | Path]:
    if language == "rust":
        library = DEBUG / "libtakings.rlib"
        return [
            *("rustc", "--edition", "2024", "--extern", f"takings={library}"),
            *("-L", DEBUG / "deps", source),
        ]
    usual, standard = {"c": ("cc", "-std=c99"), "cpp": ("c++", "-std=c++17")}[language]
    return [
        *(usual, standard, "-Wall", "-Wextra", "-Werror", "-Wno-unused-variable"),
        *(source, "-I", ROOT / "include", f"-Wl,-rpath,{DEBUG}", DEBUG / "libtakings.so"),
    ]


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A program of each compiled language that has the samples of all pages."""
    folder = tmp_path_factory.mktemp("samples")
    found = {}
    for language in FUNCTIONS:
        names = [name for name, other in SAMPLES if other == language]
        parts = [PRELUDES[language]]
        parts += [
            FUNCTIONS[language].format(name=name, sample=sample(name, language)) for name in names
        ]
        calls = "".join(CALLS[language].format(name=name) for name in names)
        source = folder / f"samples.{ {'rust': 'rs'}.get(language, language) }"
        source.write_text("".join([*parts, MAINS[language].format(calls=calls)]))
        program = folder / f"samples-{language}"
        command = [*compiler(language, source), "-o", program]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr
        found[language] = program
    return found


def printed(
    sandbox: KlarnaSandbox, programs: dict[str, Path], tmp_path: Path, name: str, language: str
) -> str:
    """What a sample prints, with each id that is made up in place of one."""
    ids = made(sandbox, name)
    code = sample(name, language)
    assert code
    if language == "python":
        out = io.StringIO()
        with sandbox.client() as client, contextlib.redirect_stdout(out):
            exec(compile(code, name, "exec"), {"takings": takings, "client": client, **ids})
        text = out.getvalue()
    else:
        command: list[str | Path] = [programs[language]] if language in programs else ["lua5.4"]
        if language == "lua":
            (tmp_path / "sample.lua").write_text(PRELUDES["lua"] + code)
            command.append(tmp_path / "sample.lua")
        usual = {key: text for key, text in os.environ.items() if not key.startswith("KLARNA_")}
        ended = subprocess.run(
            [*command, name, *ids.values()],
            env={**usual, **sandbox.env, "LUA_CPATH": str(build.TARGET / "lua/5.4/?.so")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        text = ended.stdout
    return re.sub(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", CAPTURE_ID, text)


@pytest.mark.parametrize(("name", "language"), SAMPLES)
def test_a_sample_does_what_its_page_says(
    sandbox: KlarnaSandbox, programs: dict[str, Path], tmp_path: Path, name: str, language: str
) -> None:
    text = printed(sandbox, programs, tmp_path, name, language)
    done = [entry["kind"] for entry in sandbox.ledger()]
    sent = [request["method"] for request in sandbox.requests()][-1]
    if name in OFFLINE:
        assert done == ["capture"]
        assert sent == {"check_capture": "GET", "intent": "POST"}[name]
    else:
        operation = operations.table()[name]
        assert sent == operation["method"]
        if operation["takes_key"]:
            assert done[-1] == name
    assert sandbox.audit() == []
    expected = sample(name, "text") or printed(sandbox, programs, tmp_path, name, "python")
    if text or language == "python":
        assert text == expected


def test_the_jobs_of_the_readme_are_done(sandbox: KlarnaSandbox) -> None:
    readme = (ROOT / "README.md").read_text()
    jobs = readme.partition("\n## The other jobs\n")[2].partition("\n## ")[0]
    calls = re.findall(r"`(client\.(\w+)\(.*)` \|", jobs)
    assert len(calls) == 5
    for code, name in calls:
        ids = made(sandbox, name)
        for left_out, value in [
            ("capture_id=…", "capture_id=capture_id"),
            ("shipping_info=[…]", "shipping_info=[{'tracking_number': 'JD014600'}]"),
            ("idempotency_key=…", "idempotency_key=takings.new_idempotency_key()"),
        ]:
            code = code.replace(left_out, value)
        with sandbox.client() as client:
            value = eval(code, {"takings": takings, "client": client, **ids})
        if operations.table()[name]["takes_key"]:
            assert sandbox.ledger()[-1]["kind"] == name
        elif name == "get_order":
            assert value == 4000
        else:
            done = {"capture_remaining": "capture", "cancel_or_release": RELEASE}
            assert sandbox.ledger()[-1]["kind"] == done[name]
        assert sandbox.audit() == []


# --- the refusals ---------------------------------------------------------------------------------


class WithFreshKeys:
    """A client that makes the key of each call, since a key that is given is in doubt."""

    def __init__(self, client: takings.Client) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        def call(order_id: str, **fields: Any) -> Any:
            fields.pop("idempotency_key", None)
            return getattr(self._client, name)(order_id, **fields)

        return call


def refusals(text: str) -> list[tuple[int, str]]:
    below = text.partition("\n## Refusals\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in below.splitlines() if line.startswith("| ")]
    return [
        (int(status), code) for row in rows for status, code in re.findall(r"(\d+) `(\w+)`", row)
    ]


REFUSALS = [(name, *refusal) for name, text in PAGES.items() for refusal in refusals(text)]


def test_there_are_refusals() -> None:
    assert len(REFUSALS) > 15
    assert len(refusals(INDEX)) == 5
    # Calls of several requests say in words what a refusal of each means.
    several = {name for name, row in operations.table().items() if row["effect"] == "follows"}
    assert len(several) == 5
    alone = {"get_order", "get_captures"} | several
    assert {name for name, _, _ in REFUSALS} == set(PAGES) - alone


@pytest.mark.parametrize("is_lost", [False, True], ids=["at once", "after a lost answer"])
@pytest.mark.parametrize(
    ("name", "status", "code"), [*REFUSALS, *(("capture", *each) for each in refusals(INDEX))]
)
def test_a_refusal_is_what_the_pages_say(
    sandbox: KlarnaSandbox, name: str, status: int, code: str, is_lost: bool
) -> None:
    ids = made(sandbox, name)
    if is_lost:
        sandbox.fault(ORDER_ID, {"fault": "close_before_commit", "on": name})
    sandbox.fault(ORDER_ID, {"fault": "status", "status": status, "error_code": code, "on": name})
    code_of_page = sample(name, "python")
    assert code_of_page
    with sandbox.client(backoff=0.01) as client:
        space = {"takings": takings, "client": WithFreshKeys(client), **ids}
        with pytest.raises(takings.TakingsError) as caught:
            exec(compile(code_of_page, name, "exec"), space)
    assert caught.value.error_code == code
    settles = status in (400, 413, 422) or (code == "NO_SUCH_ORDER" and name == "capture")
    is_read = not operations.table()[name]["takes_key"]
    expected = "rejected" if not is_lost or is_read or settles else "outcome_unknown"
    assert caught.value.kind == expected

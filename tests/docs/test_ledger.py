"""The pages of the ledger: what a person types stands on them, and what is answered."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "docs"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "process"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "ledger"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "fleet"))

import build
from postgres import Cluster

ROOT = build.ROOT
SITE = build.Site()
PAGES = sorted(name for name in SITE.pages if name.startswith("ledger/"))
UUID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
# The host of the pages' database.
HOST = "db.example.com"
LATER = "for try in $(seq 400); do [ -s url ] && break; sleep 0.05; done"


def mine(page: str) -> list[build.Block]:
    return [block for block in SITE.pages[page].blocks if block.origin == f"docs/{page}"]


def file_of(block: build.Block) -> str | None:
    said = re.fullmatch(r"file: (\S+)", block.said)
    return said[1] if said else None


def test_the_pages_are_there() -> None:
    names = (
        "alerts",
        "erp",
        "fleet",
        "lua",
        "mysql",
        "postgresql",
        "python",
        "restore",
        "shipping-day",
    )
    assert [f"ledger/{name}.md" for name in names] == PAGES


def as_a_script(typed: str) -> str:
    """Commands of a page, for a port that is free and nobody who says yes."""
    typed = re.sub(
        r"(takings sandbox --port )8181((?:[^\n]*\\\n)*[^\n]*) &\n",
        rf"\g<1>0\2 >url 2>/dev/null &\n{LATER}\nport=$(sed 's/.*://' url)\n",
        typed,
    )
    return typed.replace("127.0.0.1:8181", "127.0.0.1:$port").replace(
        "takings capture-file ", "takings capture-file --yes "
    )


def plain(text: str, known: set[str], folder: str) -> str:
    """A text without what is another one each time: times, ids, ports, folders."""
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME", text.replace(folder, "/home/ada"))
    text = re.sub(r"http://127\.0\.0\.1:\d+", "http://127.0.0.1:8181", text)
    text = UUID.sub(lambda found: found[0] if found[0] in known else "ID", text)
    return re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE).rstrip("\n")


@pytest.fixture
def server(page: str) -> Iterator[Cluster | None]:
    """The database of a page that has one."""
    if not any(block.language == "sh" and HOST in block.text for block in mine(page)):
        yield None
        return
    # doctor warns of a server that does not wait for its disk.
    with Cluster(fsync="on") as server:
        server.sql("postgres", "CREATE DATABASE shop")
        yield server


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_answered_as_it_says(page: str, server: Cluster | None, tmp_path: Path) -> None:
    folder = tmp_path.resolve()
    host = str(server.folder) if server else HOST
    known: set[str] = set()
    script = ["trap 'kill $(jobs -p) 2>/dev/null' EXIT"]
    expected: list[str | None] = []
    for block in mine(page):
        if name := file_of(block):
            (folder / name).write_text(block.text)
        elif block.language == "sh":
            into = folder / f"said.{len(expected)}"
            typed = block.text.replace(f"@{HOST}", f"@{quote(host, safe='')}").replace(HOST, host)
            script.append(f"{{\n{as_a_script(typed)}}} >{into} 2>&1\necho $? >{into}.code")
            expected.append(None)
        else:
            assert block.language == "text"
            expected[-1] = block.text
        if block.language != "text":
            known |= set(UUID.findall(block.text))
    usual = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("KLARNA_", "TAKINGS_LEDGER", "XDG_", "STATE_DIRECTORY"))
    }
    programs = [build.TARGET / "debug", build.TARGET / "python/bin"]
    path = os.pathsep.join([*map(str, programs), usual["PATH"]])
    with subprocess.Popen(
        ["bash", "-c", "\n".join(script)],
        cwd=folder,
        env={**usual, "HOME": str(folder), "PATH": path},
        stdin=subprocess.DEVNULL,
    ) as shell:
        try:
            shell.wait(120)
        finally:
            shell.kill()
    for place, text in enumerate(expected):
        said = (folder / f"said.{place}").read_text().replace(host, HOST)
        if text is None:
            assert (folder / f"said.{place}.code").read_text() == "0\n", said
        else:
            assert plain(said, known, str(folder)) == plain(text, known, "/home/ada")

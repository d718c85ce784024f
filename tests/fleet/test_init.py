"""Tables that a DBA makes of `takings init --print`."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from postgres import Cluster
from support import BUILT, ROOT, Sandbox, built, run


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    with Cluster() as server:
        server.sql("postgres", "CREATE ROLE shop LOGIN; CREATE ROLE worker LOGIN")
        server.sql("postgres", "CREATE ROLE dba LOGIN")
        server.sql("postgres", "CREATE DATABASE printed OWNER dba")
        takings = [str(built(BUILT / "takings")), "--ledger", server.url("printed", role="dba")]
        roles = ["--shop-role=shop", "--worker-role=worker"]
        statements = run(*takings, "init", "--print", "--first-ever", *roles)
        server.sql("printed", statements, role="dba")
        yield server


def test_a_printed_ledger_vouches_for_its_rows(server: Cluster) -> None:
    """Its first worker does not take it for one that was restored."""
    order = "f3392f8b-6116-4073-ab96-e330819e2c07"
    with Sandbox() as sandbox:
        sandbox.control("/orders", {"order_id": order, "order_amount": 6000})
        columns = "order_id, reference, captured_amount"
        server.sql(
            "printed",
            f"INSERT INTO takings_capture ({columns}) VALUES ('{order}', 'parcel-1', 6000)",
            role="shop",
        )
        run(
            built(BUILT / "takings"),
            *("--ledger", server.url("printed", role="worker"), "worker", "--until-quiet", "1"),
            KLARNA_BASE_URL=sandbox.url,
            KLARNA_USERNAME="sandbox",
            KLARNA_PASSWORD="sandbox",
        )
    assert server.sql("printed", "SELECT state FROM takings_capture") == "captured\n"
    assert server.sql("printed", "SELECT look_until = 'epoch' FROM takings_account") == "t\n"


def test_a_shop_finds_news_by_an_index(server: Cluster) -> None:
    """Otherwise each question would read the whole table."""
    programs = sorted((ROOT / "examples/ledger").glob("with_*.py"))
    assert programs
    for program in programs:
        found = re.search(r'NEWS = (?:text\()?"""(.*?)"""', program.read_text(), re.DOTALL)
        assert found, program
        plan = server.sql("printed", f"SET enable_seqscan = off; EXPLAIN {found[1]}", "shop")
        assert "takings_capture_news" in plan, plan

"""The programs of examples/ledger: shops that enqueue in a transaction of their own.

Each runs as a role that has what `takings init --shop-role` gives, and nothing else.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

import psycopg
import pytest
from postgres import Cluster
from support import BUILT, ENVIRONMENT, ROOT, Program, built, compiled, run, until

EXAMPLES = ROOT / "examples/ledger"
SHOP = """
    CREATE TABLE parcel (name text PRIMARY KEY, order_id text NOT NULL, state text NOT NULL);
    GRANT SELECT, INSERT, UPDATE ON parcel TO shop;
"""
STACKS = ("psycopg", "asyncpg", "sqlalchemy", "django", "libpq", "odbc", "pdo")
# What its typed languages say of an amount that is none; the table says the same to all others.
NO_AMOUNT = ("must be a whole number", "must be of type int")
PLAIN = "INSERT INTO takings_capture (order_id, reference, captured_amount) VALUES"
WRONG = [60.5, "60.00", None]
WAITS = """
    SELECT count(*) FROM pg_stat_activity
    WHERE wait_event = 'transactionid' AND datname = current_database()
"""
EACH = """
import json, sys
order, parcel, amounts = sys.argv[1:]
for amount in json.loads(amounts):
    try:
        insert(order, parcel, amount)
    except Exception as why:
        print(why)
"""
OTHER = "this reference of the order was enqueued before with another content"


@dataclass
class Ended:
    status: int
    output: str
    complaints: str


class Ledger:
    """A database with a ledger and a shop's own table."""

    def __init__(self, server: Cluster, name: str) -> None:
        self.server = server
        self.name = name
        server.sql("postgres", f"CREATE DATABASE {name}")
        self.takings("init", "--first-ever", "--shop-role=shop", "--worker-role=worker")
        server.sql(name, SHOP)
        self.variables = {**ENVIRONMENT, **server.variables(name, "shop")}

    def takings(self, *words: str) -> str:
        url = self.server.url(self.name)
        return run(built(BUILT / "takings"), "--ledger", url, *words)

    def runs(self, *command: str) -> str:
        """Runs a program of the shop to its good end."""
        with Program(*command, environment=self.variables) as program:
            return program.end()

    def parcel(self) -> tuple[str, str]:
        """A packed parcel of a new order: the order and the parcel's name."""
        order, parcel = str(uuid.uuid4()), f"parcel-{uuid.uuid4().hex[:8]}"
        self.sql(f"INSERT INTO parcel VALUES ('{parcel}', '{order}', 'packed')")
        return order, parcel

    def sql(self, statements: str) -> list[str]:
        return self.server.sql(self.name, statements).splitlines()

    def state(self, parcel: str) -> str:
        [state] = self.sql(f"SELECT state FROM parcel WHERE name = '{parcel}'")
        return state

    def rows(self, parcel: str) -> list[str]:
        """Its rows in the ledger: amounts and states."""
        return self.sql(
            f"SELECT captured_amount, state FROM takings_capture WHERE reference = '{parcel}'"
        )

    @contextlib.contextmanager
    def other(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection of another program of the shop, in a transaction."""
        folder = str(self.server.folder)
        with psycopg.connect(host=folder, user="shop", dbname=self.name) as other:
            yield other


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    with Cluster() as server:
        server.sql("postgres", "CREATE ROLE shop LOGIN; CREATE ROLE worker LOGIN")
        yield server


@pytest.fixture(scope="module")
def ledger(server: Cluster) -> Ledger:
    return Ledger(server, "stacks")


class Shop:
    """A program of examples/ledger."""

    def __init__(self, stack: str, ledger: Ledger, folder: Path) -> None:
        self.ledger = ledger
        source = EXAMPLES / f"with_{stack}.py"
        self.command: list[str | Path] = [sys.executable, source]
        if stack == "pdo":
            self.command = ["php", "-d", "display_errors=stderr", EXAMPLES / "with_pdo.php"]
        elif stack in ("libpq", "odbc"):
            source = EXAMPLES / f"with_{stack}.c"
            flags = ["-lodbc"]
            if stack == "libpq":
                flags = [f"-I{run('pg_config', '--includedir').strip()}", "-lpq"]
            # The library stands behind the source that needs it.
            program = compiled(source, folder / stack, "-Wl,--no-as-needed", *flags)
            self.command = [program]
        if stack == "odbc":
            place = {
                "Driver": "PostgreSQL Unicode",
                "Servername": ledger.server.folder,
                "Database": ledger.name,
                "UID": "shop",
            }
            self.command.append(";".join(f"{name}={value}" for name, value in place.items()))

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self.command, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.ledger.variables,
        )

    @staticmethod
    def end(program: subprocess.Popen[str]) -> Ended:
        with program:
            try:
                output, complaints = program.communicate(timeout=60)
            finally:
                program.kill()
        return Ended(program.returncode, output, complaints)

    def run(self, *words: str) -> Ended:
        return self.end(self.start(*words))

    def ships(self, order: str, parcel: str, amount: str = "6000") -> None:
        ended = self.run("ship", order, parcel, amount)
        assert (ended.status, ended.output) == (0, f"{parcel} shipped\n"), ended


@pytest.fixture(scope="module", params=STACKS)
def shop(
    request: pytest.FixtureRequest, ledger: Ledger, tmp_path_factory: pytest.TempPathFactory
) -> Shop:
    return Shop(request.param, ledger, tmp_path_factory.mktemp(request.param))


def test_a_parcel_is_shipped_and_enqueued_once(shop: Shop, ledger: Ledger) -> None:
    order, parcel = ledger.parcel()
    shop.ships(order, parcel)
    shop.ships(order, parcel)
    assert ledger.state(parcel) == "shipped"
    assert ledger.rows(parcel) == ["6000|queued"]


def test_an_amount_that_is_none_ships_nothing(shop: Shop, ledger: Ledger) -> None:
    """In Python one of them is enough: the package's own tests have the others."""
    order, parcel = ledger.parcel()
    is_python = shop.command[0] == sys.executable
    for amount in ["60.5"] if is_python else ["60.5", '"60.00"', "null"]:
        ended = shop.run("ship", order, parcel, amount)
        assert ended.status == 1, ended
        assert any(said in ended.complaints for said in NO_AMOUNT), ended
    assert ledger.state(parcel) == "packed"
    assert ledger.rows(parcel) == []


def test_a_name_with_another_amount_is_refused(shop: Shop, ledger: Ledger) -> None:
    order, parcel = ledger.parcel()
    shop.ships(order, parcel)
    ledger.sql(f"UPDATE parcel SET state = 'packed' WHERE name = '{parcel}'")
    ended = shop.run("ship", order, parcel, "7000")
    assert ended.status == 1, ended
    assert OTHER in ended.complaints
    # The shop's own change went with it.
    assert ledger.state(parcel) == "packed"
    assert ledger.rows(parcel) == ["6000|queued"]


@pytest.mark.parametrize("amount", [6000, 7000])
def test_a_lost_race_is_run_again(shop: Shop, ledger: Ledger, amount: int) -> None:
    """Another program inserts the same name and commits while this one waits for it."""
    order, parcel = ledger.parcel()
    with ledger.other() as other:
        other.execute(
            f"{PLAIN} (%s, %s, %s)",
            [order, parcel, amount],
        )
        program = shop.start("ship", order, parcel, "6000")
        until(lambda: ledger.sql(WAITS) == ["1"])
        other.commit()
    ended = shop.end(program)
    assert ended.status == (0 if amount == 6000 else 1), ended
    assert (OTHER in ended.complaints) == (amount == 7000)
    assert ledger.state(parcel) == ("shipped" if amount == 6000 else "packed")
    assert ledger.rows(parcel) == [f"{amount}|queued"]


def test_outcomes_are_taken_over_once(shop: Shop, ledger: Ledger) -> None:
    captured, refused = ledger.parcel(), ledger.parcel()
    settled = "settled_at = now(), due_at = NULL, seen_at = NULL"
    for order, parcel in (captured, refused):
        shop.ships(order, parcel)
    ledger.sql(
        f"""UPDATE takings_capture SET state = 'captured', capture_id = 'c', {settled}
              WHERE reference = '{captured[1]}';
            UPDATE takings_capture SET state = 'rejected', error_code = 'NO_SUCH_ORDER', {settled}
              WHERE reference = '{refused[1]}'"""
    )
    ended = shop.run("outcomes")
    assert ended.status == 0, ended
    assert sorted(ended.output.splitlines()) == sorted(
        [f"{captured[1]} captured -", f"{refused[1]} rejected NO_SUCH_ORDER"]
    )
    assert (ledger.state(captured[1]), ledger.state(refused[1])) == ("captured", "rejected")
    assert shop.run("outcomes").output == ""
    # Settled anew, it is news again.
    ledger.sql(
        f"""UPDATE takings_capture SET state = 'captured', capture_id = 'd', settled_at = now()
              WHERE reference = '{refused[1]}'"""
    )
    assert shop.run("outcomes").output == f"{refused[1]} captured NO_SUCH_ORDER\n"


def test_a_serializable_shop_ships_too(shop: Shop, ledger: Ledger) -> None:
    order, parcel = ledger.parcel()
    before = ledger.variables
    flag = "-c default_transaction_isolation=serializable"
    ledger.variables = {**before, "PGOPTIONS": flag}
    try:
        shop.ships(order, parcel)
        shop.ships(order, parcel)
    finally:
        ledger.variables = before
    assert ledger.rows(parcel) == ["6000|queued"]


@pytest.mark.parametrize("stack", ["psycopg", "asyncpg", "sqlalchemy", "django", "pdo"])
def test_the_table_refuses_what_no_intent_has_checked(ledger: Ledger, stack: str) -> None:
    """A plain INSERT, with each amount bound as the library binds it."""
    order, parcel = ledger.parcel()
    script = {
        "psycopg": f"""
            import psycopg
            db = psycopg.connect(autocommit=True)
            def insert(*values):
                db.execute("{PLAIN} (%s, %s, %s)", values)
            """,
        "asyncpg": f"""
            import asyncio, asyncpg
            async def connected(values):
                await (await asyncpg.connect()).execute("{PLAIN} ($1, $2, $3)", *values)
            def insert(*values):
                asyncio.run(connected(values))
            """,
        "sqlalchemy": f"""
            from sqlalchemy import create_engine
            engine = create_engine("postgresql+psycopg://")
            def insert(*values):
                with engine.begin() as db:
                    db.exec_driver_sql("{PLAIN} (%s, %s, %s)", values)
            """,
        "django": f"""
            from django.conf import settings
            from django.db import connection
            place = {{"ENGINE": "django.db.backends.postgresql", "NAME": "{ledger.name}"}}
            settings.configure(DATABASES={{"default": place}})
            def insert(*values):
                connection.cursor().execute("{PLAIN} (%s, %s, %s)", values)
            """,
        "pdo": f"""
            $db = new PDO('pgsql:', options: [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION]);
            foreach (json_decode($argv[3]) as $amount) {{
                try {{
                    $db->prepare('{PLAIN} (?, ?, ?)')->execute([$argv[1], $argv[2], $amount]);
                }} catch (PDOException $why) {{
                    echo $why->getMessage(), "\\n";
                }}
            }}
            """,
    }[stack]
    words = [order, parcel, json.dumps(WRONG)]
    if stack == "pdo":
        said = ledger.runs("php", "-r", script, *words)
    else:
        said = ledger.runs(sys.executable, "-c", dedent(script) + EACH, *words)
    assert said.count("takings: captured_amount must be a whole number of minor") == 3, said
    assert ledger.rows(parcel) == []


def test_many_rows_by_copy(ledger: Ledger) -> None:
    """Each passes the checks of an INSERT; an error takes all of them back."""
    (order, one), (_, other) = ledger.parcel(), ledger.parcel()
    columns = "order_id, reference, captured_amount, request"
    text = json.dumps({"description": "two shirts"})

    def copied(*amounts: str) -> int:
        with ledger.other() as db, db.cursor() as cursor:
            with cursor.copy(f"COPY takings_capture ({columns}) FROM STDIN") as copy:
                for parcel, amount in zip((one, other), amounts, strict=True):
                    copy.write_row((order, parcel, amount, text))
            return cursor.rowcount

    with pytest.raises(psycopg.errors.CheckViolation, match="captured_amount must be") as refused:
        copied("6000", "60.5")
    assert "line 2" in (refused.value.diag.context or "")
    assert (ledger.rows(one), ledger.rows(other)) == ([], [])
    assert copied("6000", "4000") == 2
    assert copied("6000", "4000") == 0, "the same again does nothing"
    with pytest.raises(psycopg.errors.CheckViolation, match=OTHER):
        copied("6000", "4001")
    assert ledger.rows(one) + ledger.rows(other) == ["6000|queued", "4000|queued"]

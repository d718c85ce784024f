"""examples/ledger/relay.sh: shops in MySQL, Magento and WooCommerce, in a MariaDB of the tests."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from postgres import Cluster
from support import BUILT, ENVIRONMENT, ROOT, Sandbox, built, run, until

EXAMPLES = ROOT / "examples/ledger"
# The columns that the queries read, as the shops have them.
TABLES = {
    "mysql": """
        CREATE TABLE parcel (name VARCHAR(255), order_id VARCHAR(255), amount INT,
          state VARCHAR(20));
    """,
    "magento": """
        CREATE TABLE sales_invoice (increment_id VARCHAR(50), order_id INT, state INT,
          grand_total DECIMAL(20, 4), order_currency_code VARCHAR(3));
        CREATE TABLE klarna_core_order (klarna_order_id VARCHAR(255), order_id INT);
    """,
    "woocommerce": """
        CREATE TABLE wp_wc_orders (id BIGINT, status VARCHAR(20), currency VARCHAR(10),
          type VARCHAR(20), total_amount DECIMAL(26, 8));
        CREATE TABLE wp_wc_orders_meta (order_id BIGINT, meta_key VARCHAR(255), meta_value TEXT);
    """,
}
PARCELS = {
    "mysql": """
        INSERT INTO parcel VALUES ('5" \\\\ ü''; x', '{0}', 6000, 'shipped'),
          ('later', '{0}', 1, 'packed'), ('other', '{1}', 4500, 'shipped');
    """,
    "magento": """
        INSERT INTO sales_invoice VALUES ('000001', 1, 1, 60.0000, 'EUR'),
          ('000002', 2, 1, 45.0000, 'EUR'), ('000003', 2, 2, 1.0000, 'EUR'),
          ('000004', 3, 1, 1.0000, 'EUR');
        INSERT INTO klarna_core_order VALUES ('{0}', 1), ('{1}', 2);
    """,
    "woocommerce": """
        INSERT INTO wp_wc_orders VALUES (1, 'wc-completed', 'EUR', 'shop_order', 60.00000000),
          (2, 'wc-completed', 'EUR', 'shop_order', 45.00000000),
          (3, 'wc-processing', 'EUR', 'shop_order', 1), (4, 'wc-completed', 'EUR', 'shop_order', 1);
        INSERT INTO wp_wc_orders_meta VALUES (1, '_wc_klarna_order_id', '{0}'),
          (2, '_wc_klarna_order_id', '{1}'), (3, '_wc_klarna_order_id', '{1}'), (4, 'other', 'x');
    """,
}
NAMES = {
    "mysql": ("5\" \\ ü'; x", "other"),
    "magento": ("invoice-000001", "invoice-000002"),
    "woocommerce": ("order-1", "order-2"),
}
# An amount that the shop's query must not round.
FRACTIONS = {
    "magento": "UPDATE sales_invoice SET grand_total = 60.0050 WHERE increment_id = '000001'",
    "woocommerce": "UPDATE wp_wc_orders SET total_amount = 60.005 WHERE id = 1",
}


class MariaDb:
    """A server in a folder of its own, reached by a socket in it; it ends with the tests."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="takings-my-"))
        user: dict[str, Any] = {}
        if os.geteuid() == 0:
            them = pwd.getpwnam("postgres")
            os.chown(self.folder, them.pw_uid, them.pw_gid)
            user = {"user": them.pw_uid, "group": them.pw_gid, "extra_groups": []}
        data = f"--datadir={self.folder / 'data'}"
        flags = ["--auth-root-authentication-method=normal", "--skip-test-db"]
        made = subprocess.run(
            ["mariadb-install-db", "--no-defaults", data, *flags],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
            **user,
        )
        assert made.returncode == 0, made.stdout + made.stderr
        # The shell ends the server when the tests end, and removes the folder.
        keeper = 'trap "" INT TERM; "$@" & cat >/dev/null; kill -9 $!; wait; cd /; rm -rf "$0"'
        paths = ENVIRONMENT["PATH"] + ":/usr/sbin"
        server = shutil.which("mariadbd", path=paths)
        assert server, "mariadbd is missing: `make setup` installs the package mariadb-server-core"
        place = ["--no-defaults", data, f"--socket={self.folder / 'socket'}", "--skip-networking"]
        self.keeper = subprocess.Popen(
            ["/bin/sh", "-c", keeper, self.folder, server, *place],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd=self.folder,
            **user,
        )
        self.options = ["--no-defaults", f"--socket={self.folder / 'socket'}", "--user=root"]
        until(lambda: self.tried("", "SELECT 1").returncode == 0, 60)

    def tried(self, database: str, statements: str) -> subprocess.CompletedProcess[str]:
        flags = ["--batch", "--raw", "--skip-column-names", "--default-character-set=utf8mb4"]
        return subprocess.run(
            ["mysql", *self.options, *flags, database],
            input=statements,
            capture_output=True,
            text=True,
            check=False,
        )

    def sql(self, database: str, statements: str) -> list[str]:
        ended = self.tried(database, statements)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout.splitlines()

    def end(self) -> None:
        assert self.keeper.stdin is not None
        self.keeper.stdin.close()
        self.keeper.wait(60)


@pytest.fixture(scope="module")
def mariadb() -> Iterator[MariaDb]:
    server = MariaDb()
    try:
        yield server
    finally:
        server.end()


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    with Cluster() as server:
        yield server


@pytest.mark.parametrize("shop", TABLES)
def test_parcels_are_relayed_and_outcomes_come_back(
    shop: str, mariadb: MariaDb, server: Cluster
) -> None:
    database = f"shop_{shop}"
    server.sql("postgres", f"CREATE DATABASE {database}")
    takings = [str(built(BUILT / "takings")), "--ledger", server.url(database)]
    run(*takings, "init", "--first-ever")
    outcome = (EXAMPLES / "outcome.sql").read_text()
    mariadb.sql("", f"CREATE DATABASE {database} CHARACTER SET utf8mb4")
    mariadb.sql(database, f"{outcome}; {TABLES[shop]}")
    environment = {
        **ENVIRONMENT,
        **server.variables(database),
        "PATH": f"{BUILT}:{ENVIRONMENT['PATH']}",
        "TAKINGS_LEDGER": server.url(database),
        "SHOP": " ".join([*mariadb.options, database]),
    }

    def relay() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [EXAMPLES / "relay.sh", EXAMPLES / f"{shop}.sql"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def relays() -> None:
        ended = relay()
        assert ended.returncode == 0, ended

    def ledger() -> list[str]:
        rows = "SELECT reference, captured_amount, state FROM takings_capture ORDER BY id"
        return server.sql(database, rows).splitlines()

    first, second = NAMES[shop]
    # Nothing is there yet.
    relays()
    orders = [str(uuid.uuid4()), str(uuid.uuid4())]
    mariadb.sql(database, PARCELS[shop].format(*orders))
    relays()
    relays()
    assert ledger() == [f"{first}|6000|queued", f"{second}|4500|queued"]
    with Sandbox() as sandbox:
        # The sandbox does not know the second order.
        sandbox.control("/orders", {"order_id": orders[0], "order_amount": 6000})
        run(
            *takings,
            *("worker", "--until-quiet", "1"),
            KLARNA_BASE_URL=sandbox.url,
            KLARNA_USERNAME="sandbox",
            KLARNA_PASSWORD="sandbox",
        )
    assert ledger() == [f"{first}|6000|captured", f"{second}|4500|rejected"]
    relays()
    told = "SELECT order_id, reference, state, error_code FROM takings_outcome ORDER BY state"
    expected = [
        f"{orders[0]}\t{first}\tcaptured\t",
        f"{orders[1]}\t{second}\trejected\tNO_SUCH_ORDER",
    ]
    assert mariadb.sql(database, told) == expected
    # They are taken over once, and are not asked for again.
    mariadb.sql(database, "DELETE FROM takings_outcome WHERE state = 'rejected'")
    relays()
    assert mariadb.sql(database, told) == expected[:1]
    # A wrong amount is an error, for this parcel and all beside it.
    if shop in FRACTIONS:
        mariadb.sql(database, f"DELETE FROM takings_outcome; {FRACTIONS[shop]}")
        ended = relay()
        assert ended.returncode == 1
        assert "60.005" in ended.stdout + ended.stderr
    assert len(ledger()) == 2

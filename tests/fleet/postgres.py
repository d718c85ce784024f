"""PostgreSQL servers of the tests' own: not as root, each in a folder that goes with it.

A server ends with the tests, even when they are killed: a shell waits for the end of its input."""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
from shop import Machine
from support import ENVIRONMENT, until
from typing_extensions import Self

# Ends the server and removes its folder, once nobody holds the other end of its input.
KEEPER = """trap '' INT TERM HUP
cat >/dev/null
"$0" stop --mode=immediate --silent --pgdata "$1/data" 2>/dev/null
cd / && rm -rf "$1" """

SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "max_connections": "200",
    # A backup and a standby begin at once.
    "max_wal_senders": "4",
    "log_min_messages": "warning",
}


def program(name: str) -> str:
    """A program of PostgreSQL, of the newest version that is there."""
    found = sorted(
        (int(path.parent.parent.name), path)
        for path in Path("/usr/lib/postgresql").glob(f"*/bin/{name}")
    )
    path = found[-1][1] if found else shutil.which(name)
    assert path, f"PostgreSQL's {name} is missing: `make setup` installs the package postgresql"
    return str(path)


def user() -> dict[str, Any]:
    """PostgreSQL does not run as root, but as the user that Debian's package makes."""
    if os.geteuid() != 0:
        return {}
    postgres = pwd.getpwnam("postgres")
    return {"user": postgres.pw_uid, "group": postgres.pw_gid, "extra_groups": []}


def runs(process: Path) -> bool:
    """Whether the process of this folder of /proc runs: one that ended may still be listed."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return (process / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Cluster:
    def __init__(
        self,
        *,
        of: Cluster | None = None,
        environment: dict[str, str] | None = None,
        **settings: str,
    ) -> None:
        """A new server, or a standby of another. `environment`: of the server."""
        self.folder = Path(tempfile.mkdtemp(prefix="takings-pg-"))
        self.data = self.folder / "data"
        self.environment = {**ENVIRONMENT, **(environment or {})}
        self.numbers = itertools.count()
        if user():
            os.chown(self.folder, user()["user"], user()["group"])
        # In a session of its own, so that what ends the tests does not end it.
        self.keeper = subprocess.Popen(
            ["sh", "-c", KEEPER, program("pg_ctl"), str(self.folder)],
            stdin=subprocess.PIPE,
            cwd=self.folder,
            start_new_session=True,
            **user(),
        )
        self.settings = {**SETTINGS, **settings, "unix_socket_directories": str(self.folder)}
        if of is None:
            trust = ["--auth=trust", "--username=owner", "--encoding=UTF8", "--locale=C"]
            self.run("initdb", "--no-sync", *trust, f"--pgdata={self.data}")
        else:
            self.copy(of)
            (self.data / "standby.signal").touch()
            self.setting("primary_conninfo", f"host={of.folder} user=owner")
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.keeper.stdin is not None
        self.keeper.stdin.close()
        self.keeper.wait(timeout=60)

    def run(self, name: str, *words: str) -> None:
        """Runs a program of PostgreSQL as the server's user, to its good end."""
        with (self.folder / "said").open("w+") as said:
            ended = subprocess.run(
                [program(name), *words],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                timeout=120,
                **user(),
            )
            said.seek(0)
            assert ended.returncode == 0, f"{name} {words}: {said.read()}\n{self.log()[-2000:]}"

    def log(self) -> str:
        with contextlib.suppress(FileNotFoundError):
            return (self.folder / "log").read_text()
        return ""

    def setting(self, name: str, value: str) -> None:
        with (self.data / "postgresql.auto.conf").open("a") as file:
            file.write(f"{name} = '{value}'\n")

    def copy(self, of: Cluster) -> None:
        """A base backup of another server, with the log that belongs to it."""
        how = ["--checkpoint=fast", "--no-sync", "--wal-method=stream"]
        where = [f"--pgdata={self.data}", f"--host={of.folder}", "--username=owner"]
        self.run("pg_basebackup", *how, *where)

    def start(self) -> None:
        options = " ".join(f"-c {name}={value}" for name, value in self.settings.items())
        log = f"--log={self.folder / 'log'}"
        self.run(
            "pg_ctl",
            "start",
            "--wait",
            "--silent",
            f"--pgdata={self.data}",
            log,
            f"--options={options}",
        )

    def stop(self, mode: str = "immediate") -> None:
        self.run("pg_ctl", "stop", f"--mode={mode}", "--silent", f"--pgdata={self.data}")

    def process(self) -> int:
        return int((self.data / "postmaster.pid").read_text().split()[0])

    def kill(self) -> None:
        """Ends the server as a machine ends that loses its power."""
        process = Path(f"/proc/{self.process()}")
        os.kill(self.process(), signal.SIGKILL)
        until(lambda: not runs(process), what="the server is gone")
        # Where nobody takes note of its end, its number would count as that of a running server.
        for lock in (self.data / "postmaster.pid", *self.folder.glob(".s.PGSQL.*.lock")):
            lock.unlink(missing_ok=True)

    def machine(self, files: Path) -> Machine:
        """Starts the server anew on a machine whose clock and disk a test breaks; of the disk only
        these files."""
        machine = Machine(self.folder, files)
        (self.folder / "machine").chmod(0o666)
        self.stop("fast")
        self.environment |= machine.environment
        self.start()
        return machine

    def promote(self) -> None:
        self.run("pg_ctl", "promote", "--wait", "--silent", f"--pgdata={self.data}")

    def url(self, database: str, *others: Cluster, role: str = "owner") -> str:
        """Its socket's URL, and that of others that may have the database's place."""
        hosts = ",".join(urllib.parse.quote(str(one.folder), safe="") for one in (self, *others))
        either = "?target_session_attrs=read-write" if others else ""
        return f"postgres://{role}@{hosts}/{database}{either}"

    def variables(self, database: str, role: str = "owner") -> dict[str, str]:
        """By these libpq finds the database."""
        return {"PGHOST": str(self.folder), "PGUSER": role, "PGDATABASE": database}

    def sql(self, database: str, statements: str, role: str = "owner") -> str:
        """Runs statements as psql does; gives the rows, a line each, with | between columns."""
        ended = subprocess.run(
            ["psql", "--no-psqlrc", "-qAt", "-v", "ON_ERROR_STOP=1", "-c", statements],
            env={**os.environ, **self.variables(database, role)},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    @contextlib.contextmanager
    def connection(self, database: str = "postgres") -> Iterator[psycopg.Connection[Any]]:
        """Each statement is a transaction."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            yield connection

    def ask(self, statement: str, database: str = "postgres") -> list[Any]:
        with self.connection(database) as connection:
            told = connection.execute(statement.encode())
            return told.fetchall() if told.description else []

    def database(self) -> str:
        """A new database. Gives its name."""
        name = f"ledger_{next(self.numbers)}"
        self.ask(f"CREATE DATABASE {name}")
        return name

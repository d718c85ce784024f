"""A PostgreSQL server for tests: in a folder of its own, reached by a socket in it, never as root.

It ends with the program that started it, even if that is killed, and the folder goes with it.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import urllib.parse
from pathlib import Path
from typing import Any

from typing_extensions import Self

# Its input ends with the program that made it. A server that is still starting has no number yet.
KEEPER = """
trap '' INT TERM
cat >/dev/null
"$0" stop --mode=immediate --silent --pgdata "$1/data"
cd /
rm -rf "$1"
"""


def programs() -> Path:
    """The folder of the server's programs: Debian keeps them out of PATH."""
    found = [
        path for path in Path("/usr/lib/postgresql").glob("*/bin") if (path / "initdb").exists()
    ]
    if found:
        return max(found, key=lambda path: int(path.parent.name))
    initdb = shutil.which("initdb")
    assert initdb, "PostgreSQL's initdb is missing: `make setup` installs the package postgresql"
    return Path(initdb).resolve().parent


class Postgres:
    """A running server, whose owner is the role `owner`."""

    def __init__(self, options: str = "") -> None:
        self.bin = programs()
        # A socket's path has at most 107 bytes, and pytest's folders are long.
        self.folder = Path(tempfile.mkdtemp(prefix="takings-pg-"))
        # The server refuses to run as root; Debian's package makes a user for it.
        self.user: dict[str, Any] = {}
        if os.geteuid() == 0:
            them = pwd.getpwnam("postgres")
            os.chown(self.folder, them.pw_uid, them.pw_gid)
            self.user = {"user": them.pw_uid, "group": them.pw_gid, "extra_groups": []}
        self.keeper = subprocess.Popen(
            ["/bin/sh", "-c", KEEPER, self.bin / "pg_ctl", self.folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self.folder,
            # Ctrl-C in the terminal of the tests does not reach it.
            start_new_session=True,
            **self.user,
        )
        try:
            flags = "--no-sync --auth=trust --username=owner --encoding=UTF8 --locale=C"
            self.run("initdb", *flags.split(), "--pgdata", self.folder / "data")
            self.start(options)
        except BaseException:
            self.end()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def run(self, program: str, *arguments: str | Path) -> str:
        """Runs one of the server's own programs to its end, as the server's user."""
        with tempfile.TemporaryFile("w+") as said:
            # A server that it starts would keep a pipe open.
            ended = subprocess.run(
                [self.bin / program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                cwd=self.folder,
                timeout=120,
                check=False,
                **self.user,
            )
            said.seek(0)
            text = said.read()
        assert ended.returncode == 0, f"{program}: {text}"
        return text

    def start(self, options: str = "") -> None:
        settings = (
            f"-c listen_addresses= -c unix_socket_directories={self.folder} -c fsync=off {options}"
        )
        log = self.folder / "log"
        self.run(
            "pg_ctl",
            "start",
            "--wait",
            "--pgdata",
            self.folder / "data",
            "--log",
            log,
            "--options",
            settings,
        )

    def stop(self, mode: str = "immediate") -> None:
        self.run("pg_ctl", "stop", f"--mode={mode}", "--pgdata", self.folder / "data")

    def end(self) -> None:
        assert self.keeper.stdin is not None
        self.keeper.stdin.close()
        self.keeper.wait(60)

    def url(self, database: str, user: str = "owner") -> str:
        return f"postgres://{user}@{urllib.parse.quote(str(self.folder), safe='')}/{database}"

    def variables(self, database: str, user: str = "owner") -> dict[str, str]:
        """By these libpq finds the database."""
        return {"PGHOST": str(self.folder), "PGUSER": user, "PGDATABASE": database}

    def sql(self, database: str, statements: str, user: str = "owner") -> str:
        """Runs statements; gives the rows, a line each, with | between columns."""
        ended = subprocess.run(
            [self.bin / "psql", "--no-psqlrc", "-qAt", "-v", "ON_ERROR_STOP=1", "-c", statements],
            env={**os.environ, **self.variables(database, user)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

"""`python -m takings`: what is installed and what it finds around it. `python -m takings sandbox`:
the stand-in Klarna. `python -m takings worker`: the ledger's worker. `--help` says more."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import signal
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from ._takings import __version__, diagnosis
from ._takings import sandbox as run_sandbox

USAGE = """\
usage: python -m takings            what is installed, the settings in the environment, where calls
                                    would go, whose certificates are trusted; never a secret
       python -m takings sandbox    starts the stand-in Klarna, as takings-sandbox does;
                                    takings-sandbox --help lists its flags
       python -m takings worker     runs the worker of a ledger, as the program takings does
       python -m takings --version
"""
NO_PROGRAM = """\
takings: the worker is a program of its own, and it is not here: pip install "takings[ledger]"
"""


def compiled_from() -> str:
    """The crates that matter for security, as the wheel's bill of materials has them."""
    try:
        files = importlib.metadata.files("takings") or []
        [bill] = [str(file.locate()) for file in files if file.name.endswith(".cdx.json")]
        components = json.loads(Path(bill).read_text(encoding="utf-8"))["components"]
        versions = {component["name"]: component["version"] for component in components}
        crates = ("rustls", "ring", "rustls-webpki", "httparse")
        return f"{', '.join(f'{crate} {versions[crate]}' for crate in crates)}: {bill}"
    except (importlib.metadata.PackageNotFoundError, LookupError, OSError, ValueError):
        return "not known: its bill of materials is not beside it"


def describe() -> str:
    runs_on = f"{platform.python_implementation()} {platform.python_version()}, {sys.executable}"
    facts = {
        "package": str(Path(__file__).parent),
        "compiled from": compiled_from(),
        "Python": f"{runs_on}, {platform.platform()}",
    }
    return diagnosis() + "".join(f"  {name:19}  {fact}\n" for name, fact in facts.items())


def sandbox(flags: Sequence[str] | None = None) -> int:
    """Be `takings-sandbox`, whose command this is too."""
    # Ctrl-C ends the sandbox, though it never returns to Python
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return run_sandbox(list(sys.argv[1:] if flags is None else flags))


def worker(flags: Sequence[str]) -> int:
    """Be `takings worker`: that of this environment, or one of the path."""
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)])
    program = shutil.which("takings", path=path)
    if program is None:
        sys.stderr.write(NO_PROGRAM)
        return 1
    os.execv(program, [program, "worker", *flags])


def main(arguments: Sequence[str]) -> int:
    match arguments:
        case []:
            sys.stdout.write(describe())
        case ["sandbox", *flags]:
            return sandbox(flags)
        case ["worker", *flags]:
            return worker(flags)
        case ["--version"]:
            sys.stdout.write(f"takings {__version__}\n")
        case ["-h" | "--help"]:
            sys.stdout.write(USAGE)
        case _:
            sys.stderr.write(f"takings: {' '.join(arguments)} is not a command\n{USAGE}")
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

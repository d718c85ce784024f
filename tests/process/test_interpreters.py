"""Interpreters inside one process: takings works in the first and refuses every other in plain
words."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest
import takings
from packaging.tags import Tag, cpython_tags
from support import ENVIRONMENT, Sandbox

SUBINTERPRETER = """
import sys
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
sys.path.insert(0, sys.argv[1])
{first}
inner = f'''
import sys
sys.path.insert(0, {{sys.argv[1]!r}})
try:
    import takings
except ImportError as error:
    print("refused:", error, flush=True)
else:
    print("imported", flush=True)
'''
one = interpreters.create()
problem = interpreters.run_string(one, inner)
assert problem is None, problem
interpreters.destroy(one)
import takings
with takings.Client("sandbox", "sandbox", base_url=sys.argv[2]) as client:
    client.capture(sys.argv[3], captured_amount=1)
print("captured")
"""


def pythons() -> list[str]:
    """This one, and the others that pyenv has here."""
    others = sorted(Path.home().glob(".pyenv/versions/3.1*/bin/python3"))
    return [sys.executable, *map(str, others)]


@pytest.mark.parametrize("first", ["import takings", ""])
def test_a_subinterpreter_is_refused(sandbox: Sandbox, first: str) -> None:
    package = str(Path(takings.__file__).parent.parent)
    for interpreter in pythons():
        order_id = sandbox.order()
        ended = subprocess.run(
            [
                interpreter,
                *("-c", SUBINTERPRETER.format(first=first)),
                *(package, sandbox.url, order_id),
            ],
            capture_output=True,
            text=True,
            timeout=60,
            env=ENVIRONMENT,
        )
        assert ended.returncode == 0, (interpreter, ended.stderr)
        refused, captured = ended.stdout.splitlines()
        print(interpreter, refused)
        assert refused.startswith("refused: "), (interpreter, refused)
        assert "interpreter" in refused
        assert captured == "captured"
        assert len(sandbox.ledger(order_id)) == 1


def test_no_wheel_fits_a_free_threaded_python() -> None:
    """pip refuses the wheel there, so no library is loaded that was not made for it."""
    mine = Tag("cp310", "abi3", "linux_x86_64")
    platforms = ["linux_x86_64"]
    assert mine in set(cpython_tags((3, 13), ["cp313"], platforms))
    for version in (13, 14):
        free = cpython_tags((3, version), [f"cp3{version}t"], platforms)
        assert mine not in set(free)
    wheel = importlib.metadata.distribution("takings").read_text("WHEEL") or ""
    tags = [line for line in wheel.splitlines() if line.startswith("Tag: ")]
    assert tags, wheel
    assert all(line.startswith("Tag: cp310-abi3-") for line in tags), wheel

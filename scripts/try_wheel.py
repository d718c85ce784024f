"""Installs a wheel in an empty virtual environment, and captures there against the sandbox that the
wheel brings: from threads, with lost answers. It needs nothing but the wheel, on any system.

    python scripts/try_wheel.py WHEEL
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

INSIDE = """
import concurrent.futures, os, sys
before = getattr(sys, "_is_gil_enabled", bool)()
import takings, takings.testing

home = os.path.dirname(sys.executable)
assert os.path.dirname(home) in takings.__file__, takings.__file__
with takings.testing.KlarnaSandbox() as sandbox, sandbox.client() as client:
    orders = [sandbox.create_order(6000, faults=["lost_answer"] * (n % 4 == 0)) for n in range(16)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        captures = list(pool.map(lambda order: client.capture(order, captured_amount=6000), orders))
    ledger = sandbox.ledger()
assert {entry["capture_id"] for entry in ledger} == {capture.capture_id for capture in captures}
assert [entry["captured_amount"] for entry in ledger] == [6000] * len(orders), ledger
# the import did not bring back what this Python does without
assert getattr(sys, "_is_gil_enabled", bool)() == before
print(f"{len(orders)} orders captured once each by takings {takings.__version__}, {sys.version}")
"""


def main() -> None:
    [wheel] = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        python = Path(folder, *(["Scripts", "python.exe"] if os.name == "nt" else ["bin/python"]))
        pip = [sys.executable, "-m", "pip", "--python", str(python)]
        subprocess.run([*pip, "install", "--quiet", "--no-index", wheel], check=True)
        # none of the sources in its path
        subprocess.run([python, "-c", INSIDE], check=True, cwd=folder)


if __name__ == "__main__":
    main()

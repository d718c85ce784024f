"""The package: what is in the wheel, its types, its example."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import takings
from conftest import ROOT, Sandbox
from takings import (
    _takings,  # pyright: ignore[reportPrivateUsage]
    outcomes,
    request,
    steps,
)


def test_it_is_the_wheel_that_is_tested() -> None:
    package = Path(takings.__file__).parent
    assert ROOT / "python" not in package.parents
    # in an environment with nothing else; what runs the tests is found from there
    assert Path(sys.prefix) in package.parents
    beside = {path.name.partition("-")[0] for path in package.parent.iterdir()}
    assert beside == {"takings", "pytest_takings", "tools"}
    assert {path.name for path in package.iterdir()} >= {"py.typed", "_takings.pyi"}
    assert Path(_takings.__file__).name in ("_takings.abi3.so", "_takings.pyd")
    # The installed files are those of the sources.
    for folder in ("takings", "pytest_takings"):
        for source in (ROOT / "python" / folder).glob("*.py*"):
            installed = package.parent / folder / source.name
            assert source.read_bytes() == installed.read_bytes(), "build the wheel again"


def test_the_version_is_the_workspaces() -> None:
    [version] = re.findall(r'^version = "(.*)"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)
    assert takings.__version__ == version


def test_everything_is_exported() -> None:
    assert sorted(takings.__all__) == takings.__all__
    assert set(takings.__all__) == {
        *_takings.__all__,
        *outcomes.__all__,
        *request.__all__,
        *steps.__all__,
        "AsyncClient",
    } - {"invalid_argument"}


def test_what_the_import_loads() -> None:
    """These take longer to load than the package itself; who needs them has them already."""
    strangers = ("asyncio", "collections", "dataclasses", "json", "logging", "threading", "typing")
    code = (
        "import sys; before = set(sys.modules); import takings;"
        "print(sorted((set(sys.modules) - before) & set(sys.argv[1:])));"
        "print(set(takings.__all__) <= set(dir(takings)));"
        "from takings import *; print(OrderLine.__name__, AsyncClient.__name__)"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-I",
            "-S",
            "-c",
            f"import sys; sys.path[:0] = {sys.path}; {code}",
            *strangers,
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("[]\nTrue\nOrderLine AsyncClient\n", "")
    with pytest.raises(AttributeError, match="no attribute 'Captrue'"):
        getattr(takings, "Captrue")  # noqa: B009


def core_fields(client: takings.Client, request: Any) -> set[str]:
    """The fields the core names when it meets one that it does not know."""
    with pytest.raises(takings.InvalidInput) as caught:
        client.capture("order", request)
    return set(str(caught.value).split("its fields are ")[1].split(", "))


def inside(path: list[str], value: dict[str, Any]) -> dict[str, Any]:
    """A request that holds the value at this path."""
    for step in reversed(path):
        name, is_list, _ = step.partition("[0]")
        value = {name: [value] if is_list else value}
    return value


@pytest.mark.parametrize(
    ("type_", "path"),
    [
        (takings.CaptureRequest, []),
        (takings.OrderLine, ["order_lines[0]"]),
        (takings.ProductIdentifiers, ["order_lines[0]", "product_identifiers"]),
        (takings.Subscription, ["order_lines[0]", "subscription"]),
        (takings.ShippingInfo, ["shipping_info[0]"]),
    ],
)
def test_the_types_are_the_cores(client: takings.Client, type_: Any, path: list[str]) -> None:
    """Whoever adds a field to the core, or makes one required, is told to do so in Python."""
    hints = get_type_hints(type_)
    assert set(hints) == core_fields(client, inside(path, {"unheard_of_by_anyone": 1}))

    # the core misses one required field after the other
    prefix = "".join(re.escape(step) + r"\." for step in path)
    given: dict[str, Any] = {}
    while True:
        with pytest.raises(takings.TakingsError) as caught:
            client.capture("no such order", **inside(path, given))
        missing = re.match(prefix + r"(\w+) is missing", str(caught.value))
        if missing is None:
            break
        name = missing[1]
        given[name] = {int: 1, str: "x"}.get(hints[name], "DAY")
    assert set(given) == type_.__required_keys__


def run(sandbox: Sandbox, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "KLARNA_USERNAME": "sandbox",
        "KLARNA_PASSWORD": "sandbox",
        "KLARNA_BASE_URL": sandbox.url,
    }
    for name in ("KLARNA_API_KEY", "KLARNA_REGION", "KLARNA_ENVIRONMENT"):
        environment.pop(name, None)
    return subprocess.run(
        [sys.executable, str(ROOT / "examples" / "capture.py"), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_example(sandbox: Sandbox, order_id: str) -> None:
    file = str(ROOT / "examples" / "capture.json")
    key = takings.new_idempotency_key()
    for _ in range(2):
        done = run(sandbox, order_id, file, key)
        [entry] = sandbox.ledger(order_id)
        assert done.stdout == f"capture {entry['capture_id']}\nkey {key}\n", done.stderr
        assert (done.returncode, done.stderr) == (0, "")
    done = run(sandbox, order_id, file)
    assert (done.returncode, done.stdout) == (1, "")
    assert "CAPTURE_NOT_ALLOWED" in done.stderr
    assert "Traceback" not in done.stderr
    for wrong in ((order_id,), (order_id, "no such file"), (order_id, __file__)):
        done = run(sandbox, *wrong)
        assert (done.returncode, done.stdout) == (1, "")
        assert "Traceback" not in done.stderr


def test_only_what_is_public_is_listed() -> None:
    assert dir(takings) == sorted(takings.__all__)

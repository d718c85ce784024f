"""Making, closing and handing around a client."""

from __future__ import annotations

import asyncio
import copy
import gc
import inspect
import json
import os
import pickle
import re
import time
import weakref
from pathlib import Path
from typing import Any

import pytest
import takings
from conftest import Sandbox
from takings._settings import Settings
from takings._takings import schema

SECRET = "s3cret-0a1b2c"
USUAL: dict[str, Any] = {"username": "u", "password": SECRET, "environment": "live"}


def refused(**settings: Any) -> str:
    with pytest.raises(takings.InvalidInput) as caught:
        takings.Client(**{**USUAL, **settings})
    assert SECRET not in str(caught.value)
    return str(caught.value)


def held() -> tuple[int, int]:
    """The threads of this process, Python's and others, and its open files."""
    return len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))


def settle(before: tuple[int, int]) -> None:
    def lasting() -> bool:
        return any(now > then for now, then in zip(held(), before, strict=True))

    deadline = time.monotonic() + 5
    while lasting() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not lasting(), f"{held()} threads and files of {before}"


def test_the_signature_is_the_cores() -> None:
    known = refused(unheard_of=1).split("its fields are ")[1].split(", ")
    parameters = inspect.signature(takings.Client).parameters
    # Python's own beside the core's
    assert sorted(parameters) == sorted([*known, "transport"])
    assert list(parameters)[:2] == ["username", "password"]
    assert parameters["timeout"].default == 25.0
    assert all(f"- `{name}`: " in (takings.Client.__init__.__doc__ or "") for name in parameters)

    class Shop(takings.Client):
        def __init__(self, name: str) -> None: ...

    assert list(inspect.signature(Shop).parameters) == ["name"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"timout": 5}, "timout is not a field of a setting; did you mean timeout?"),
        ({"max_back_off": 5}, "did you mean max_backoff?"),
        ({"timeout_ms": 5}, "timeout_ms is not a setting; it must be given in seconds"),
        ({"timeout": "5"}, 'timeout is the string "5"; it must be a number of seconds'),
        ({"timeout": True}, "timeout is True; it must be a number of seconds"),
        ({"attempt_timeout": [1]}, "attempt_timeout is a list; it must be a number of seconds"),
        ({"timeout": float("nan")}, "timeout is NaN; it must be a number of seconds"),
        ({"timeout": float("inf")}, "timeout is inf; it must be a number of seconds"),
        ({"timeout": 10**400}, "timeout is inf; it must be a number of seconds"),
        ({"connect_timeout": -1}, "connect_timeout is -1.0; it must be a number of seconds"),
        ({"timeout": 0}, "timeout is 0.0; it must be a number of seconds, more than"),
        ({"timeout": 1e-9}, "timeout is 1e-9, less than a millisecond; it must be a"),
        ({"timeout": 86401}, "timeout is 86401.0; it must be a number of seconds"),
        ({"max_backoff": 1e300}, "max_backoff is 1e300; it must be a number of seconds"),
        ({"max_attempts": 2.5}, "max_attempts is 2.5, a float"),
        ({"max_attempts": 0}, "max_attempts is 0; it must be a whole number from 1 to 20"),
        ({"region": "us"}, 'region is "us", which is not known'),
        ({"region": b"eu"}, "region is a bytes; it must be one of eu, na, oc, kustom"),
        ({"environment": None}, "environment is missing"),
        ({"password": None}, "credentials are missing"),
        ({"username": None}, "username is missing"),
        ({"api_key": "k"}, "password and api_key are both given"),
        ({"base_url": "https://shop.example"}, "base_url is given together with region or env"),
        ({"base_url": "http://shop.example", "environment": None}, "base_url is plain http"),
        ({"ca_file": b"/ca.pem"}, "ca_file is a bytes; it must be a string"),
        ({"ca_file": Path("/no/such/file")}, 'ca_file "/no/such/file" cannot be read'),
        ({"ca_file": Path("/no/\udcff")}, "ca_file is a str with half of a surrogate pair"),
        ({"check_lines": False}, "check_lines is False; it must be one of off, warn, refuse"),
        ({"accept_unknown_values": 1}, "accept_unknown_values is a number; it must be True or"),
        ({"user_agent_suffix": "a\nb"}, "user_agent_suffix is a string with the control char"),
        ({"\ud800": 1}, "is not a field of a setting"),
    ],
)
def test_settings_that_are_none(settings: dict[str, Any], message: str) -> None:
    refusal = refused(**settings)
    assert message in refusal
    assert refusal.isprintable()
    assert "_ms" not in refusal.removeprefix("timeout_ms").replace("without _ms", "")


def test_none_is_the_same_as_left_out() -> None:
    nothing = dict.fromkeys(inspect.signature(takings.Client).parameters)
    settings: dict[str, Any] = {
        **nothing,
        "username": "u",
        "password": SECRET,
        "environment": "playground",
    }
    assert takings.Client(**settings).base_url == "https://api.playground.klarna.com/"


def test_every_setting_is_taken(sandbox: Sandbox, order_id: str) -> None:
    client = takings.Client(
        "sandbox",
        "sandbox",
        auth="basic",
        base_url=sandbox.url,
        timeout=5,
        connect_timeout=1,
        attempt_timeout=2.5,
        max_attempts=1,
        backoff=0,
        max_backoff=0.0,
        proxy="http://proxy.example:3128",
        user_agent_suffix="acme-shop/2.1",
        check_lines="refuse",
        accept_unknown_values=True,
    )
    line: takings.OrderLine = {
        "type": "a_new_one",
        "name": "Tomatoes",
        "quantity": 1,
        "unit_price": 1,
        "total_amount": 1,
    }
    client.capture(order_id, captured_amount=1, order_lines=[line])
    [request] = sandbox.requests(order_id)
    headers = {name.lower(): value for name, value in request["headers"]}
    assert headers["user-agent"].endswith(" (python) acme-shop/2.1")
    line["total_amount"] = 2
    with pytest.raises(takings.InvalidInput, match="fix the lines"):
        client.capture(order_id, captured_amount=2, order_lines=[line])
    lost = sandbox.order({"fault": "lost_answer"})
    with pytest.raises(takings.OutcomeUnknown) as caught:
        client.capture(lost, captured_amount=1)
    assert caught.value.attempts == 1


def test_times_are_seconds(sandbox: Sandbox) -> None:
    client = takings.Client(
        "sandbox", "sandbox", base_url=sandbox.url, attempt_timeout=0.3, max_attempts=1
    )
    slow = sandbox.order({"fault": "delay", "seconds": 3, "when": "before_commit"})
    began = time.monotonic()
    with pytest.raises(takings.OutcomeUnknown, match=r"no answer within 300\.0ms"):
        client.capture(slow, captured_amount=1)
    assert 0.3 <= time.monotonic() - began < 2.9


def test_an_api_key() -> None:
    served = Sandbox("--api-key", "klarna_test_api_x")
    try:
        key = "klarna_test_api_x"
        for client in (
            takings.Client(base_url=served.url, api_key=key, auth="raw"),
            takings.Client("sandbox", base_url=served.url, api_key=key),
        ):
            assert client.capture(served.order(), captured_amount=1).capture_id
    finally:
        served.stop()


@pytest.mark.parametrize("path_type", [str, Path])
def test_tls_with_a_ca_file(tmp_path: Path, path_type: Any) -> None:
    ca = tmp_path / "ca.pem"
    served = Sandbox("--tls", "--ca-out", str(ca))
    # its control endpoint is not asked: an unknown order is answered as such
    try:
        with (
            takings.Client(
                "sandbox", "sandbox", base_url=served.url, ca_file=path_type(ca)
            ) as client,
            pytest.raises(takings.Rejected, match="NO_SUCH_ORDER"),
        ):
            client.capture("order", captured_amount=1)
        untrusting = takings.Client("sandbox", "sandbox", base_url=served.url, max_attempts=1)
        with pytest.raises(takings.NotSent, match="ca_file"):
            untrusting.capture("order", captured_amount=1)
    finally:
        served.stop()


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in os.environ:
        if name.startswith("KLARNA_"):
            monkeypatch.delenv(name)
    return monkeypatch


def test_from_env(sandbox: Sandbox, order_id: str, environment: pytest.MonkeyPatch) -> None:
    class Shop(takings.Client):
        pass

    with pytest.raises(takings.InvalidInput, match="KLARNA_USERNAME"):
        takings.Client.from_env()
    environment.setenv("KLARNA_USERNAME", "sandbox")
    environment.setenv("KLARNA_PASSWORD", "sandbox")
    environment.setenv("KLARNA_BASE_URL", sandbox.url)
    with Shop.from_env() as client:
        assert type(client) is Shop
        assert client.capture(order_id, captured_amount=1).capture_id
    [request] = sandbox.requests(order_id)
    assert "(python)" in str(request["headers"])
    environment.setenv("KLARNA_REGION", "us")
    with pytest.raises(takings.InvalidInput, match="KLARNA_REGION"):
        takings.Client.from_env()


def test_settings_beside_the_environment(
    sandbox: Sandbox, order_id: str, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("KLARNA_USERNAME", "sandbox")
    environment.setenv("KLARNA_PASSWORD", "sandbox")
    environment.setenv("KLARNA_BASE_URL", "http://127.0.0.1:1")
    environment.setenv("KLARNA_USER_AGENT_SUFFIX", "of-the-environment")
    environment.setenv("KLARNA_MAX_ATTEMPTS", "1")
    with takings.Client.from_env(base_url=sandbox.url, timeout=10, reconcile=True) as client:
        client.capture(order_id, captured_amount=1)
    [request] = sandbox.requests(order_id)
    assert "of-the-environment" in str(request["headers"])
    other = sandbox.order({"fault": "lost_answer"})
    made = takings.AsyncClient.from_env(base_url=sandbox.url, max_attempts=2, backoff=0.01)
    assert asyncio.run(made.capture(other, captured_amount=1)).attempts == 2
    refusals: list[tuple[dict[str, Any], str]] = [
        ({"time_out": 1}, "time_out is not a field of a setting; did you mean timeout"),
        ({"timeout": 25000}, "timeout is 25000.0; times are in seconds"),
    ]
    for settings, message in refusals:
        with pytest.raises(takings.InvalidInput, match=message):
            takings.Client.from_env(**settings)
    environment.setenv("KLARNA_TIMEOUT", "25000")
    with pytest.raises(takings.InvalidInput, match=r"^KLARNA_TIMEOUT is 25000.0; times are in sec"):
        takings.Client.from_env()


def test_every_setting_has_its_variable() -> None:
    settings = [*Settings.__annotations__, "username", "password"]
    assert sorted(json.loads(schema())["variables"]) == sorted(
        f"KLARNA_{name.upper()}" for name in settings
    )


def test_the_environment_is_read_only_when_asked(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("KLARNA_USERNAME", "sandbox")
    environment.setenv("KLARNA_PASSWORD", "sandbox")
    environment.setenv("KLARNA_ENVIRONMENT", "live")
    with pytest.raises(takings.InvalidInput, match="credentials are missing"):
        takings.Client()


def test_closing(sandbox: Sandbox, order_id: str) -> None:
    before = held()
    with takings.Client("sandbox", "sandbox", base_url=sandbox.url) as client:
        client.capture(order_id, captured_amount=1)
        assert held()[1] > before[1]
        assert repr(client) == f'<takings.Client base_url="{sandbox.url}/">'
    settle(before)
    assert repr(client) == "<takings.Client closed>"
    closed = "the client is closed; it must be open"
    with pytest.raises(takings.InvalidInput, match=closed):
        client.capture(order_id, captured_amount=1)
    with pytest.raises(takings.InvalidInput, match=closed):
        _ = client.base_url
    with pytest.raises(takings.InvalidInput, match=closed):
        client.__enter__()
    client.close()
    assert len(sandbox.ledger(order_id)) == 1


def test_with_lets_exceptions_through(sandbox: Sandbox) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        takings.Client("sandbox", "sandbox", base_url=sandbox.url),
    ):
        _ = 1 / 0


def test_no_secret_shows() -> None:
    client = takings.Client("the-user", SECRET, environment="playground")
    shown = f"{client!r} {client} {dir(client)} {getattr(client, '__dict__', '')}"
    assert SECRET not in shown
    assert "the-user" not in shown


def test_it_is_not_copied() -> None:
    class Shop(takings.Client):
        pass

    for client_class in (takings.Client, Shop):
        client = client_class("u", SECRET, environment="playground")
        for copying in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError, match=r"a takings\.Client cannot be pickled or copied"):
                copying(client)


def test_a_subclass(sandbox: Sandbox, order_id: str) -> None:
    class Shop(takings.Client):
        """With arguments of its own, and a state."""

        def __init__(self, name: str, *, url: str) -> None:
            super().__init__("sandbox", "sandbox", base_url=url)
            self.name = name
            self.captured: list[str] = []

        def capture(self, *arguments: Any, **fields: Any) -> takings.Capture:
            capture = super().capture(*arguments, **fields)
            self.captured.append(capture.capture_id)
            return capture

    shop = Shop("acme", url=sandbox.url)
    capture = shop.capture(order_id, captured_amount=1)
    assert shop.captured == [capture.capture_id]
    assert re.fullmatch(r'<.*Shop base_url=".*">', repr(shop))

    class Forgetful(takings.Client):
        def __init__(self) -> None:
            pass

    with pytest.raises(takings.InvalidInput, match="closed"):
        Forgetful().capture(order_id, captured_amount=1)


def test_it_is_collected(sandbox: Sandbox, order_id: str) -> None:
    class Shop(takings.Client):
        me: Shop

    before = held()
    client = Shop("sandbox", "sandbox", base_url=sandbox.url)
    client.capture(order_id, captured_amount=1)
    client.me = client
    gone = weakref.ref(client)
    del client
    gc.collect()
    assert gone() is None
    settle(before)


def test_many_clients_leave_nothing(sandbox: Sandbox) -> None:
    before = held()
    for _ in range(20):
        takings.Client("sandbox", "sandbox", base_url=sandbox.url).capture(
            sandbox.order(), captured_amount=1
        )
    settle(before)

"""`takings.testing` and the pytest plugin, as the tests of a shop use them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
import typing
from pathlib import Path

import pytest
import takings
from conftest import ROOT
from takings.testing import Fault, KlarnaSandbox


def test_the_fixture(klarna_sandbox: KlarnaSandbox) -> None:
    order_id = klarna_sandbox.create_order(6000, faults=["lost_answer"])
    with klarna_sandbox.client() as client:
        capture = client.capture(order_id, captured_amount=6000)
    assert capture.attempts == 2
    [entry] = klarna_sandbox.ledger(order_id)
    assert entry["capture_id"] == capture.capture_id
    assert entry["idempotency_key"] == capture.idempotency_key
    lost, answered = klarna_sandbox.requests(order_id)
    assert (lost["fault"], lost["committed"], lost["answered_status"]) == (
        "lost_answer",
        True,
        None,
    )
    assert (answered["fault"], answered["committed"]) == (None, False)
    assert lost.get("body") == answered.get("body") == '{"captured_amount":6000}'


def test_faults(klarna_sandbox: KlarnaSandbox) -> None:
    order_id = klarna_sandbox.create_order(6000, order_id="an order % 5", status="AUTHORIZED")
    klarna_sandbox.fault(order_id, "status", status=503)
    klarna_sandbox.fault(order_id, "too_many_requests", request=2, retry_after="0")
    with klarna_sandbox.client() as client:
        assert client.capture(order_id, captured_amount=1).attempts == 3
        klarna_sandbox.fault(order_id, "status", status=503)
        klarna_sandbox.clear_faults(order_id)
        assert client.capture(order_id, captured_amount=1).attempts == 1
    with klarna_sandbox.client(max_attempts=1) as client:
        waits: dict[str, object] = {"fault": "delay", "seconds": 0.01, "when": "after_commit"}
        order_id = klarna_sandbox.create_order(5, faults=[waits, "lost_answer"])
        client.capture(order_id, captured_amount=1)
        with pytest.raises(takings.OutcomeUnknown):
            client.capture(order_id, captured_amount=1)
    assert len(klarna_sandbox.ledger()) == 4


def test_the_audit(klarna_sandbox: KlarnaSandbox) -> None:
    order_id, other = klarna_sandbox.create_order(6000), klarna_sandbox.create_order(6000)
    klarna_sandbox.fault(order_id, "lost_answer", on="capture")
    with klarna_sandbox.client() as client:
        client.capture(order_id, captured_amount=100, reference="parcel-1")
        assert klarna_sandbox.audit() == []
        client.capture(order_id, captured_amount=100, reference="parcel-1")
    [finding] = klarna_sandbox.audit(order_id)
    assert finding["problem"] == "captured_twice"
    assert klarna_sandbox.audit(other) == []
    assert [entry["kind"] for entry in klarna_sandbox.ledger()] == ["capture", "capture"]


def test_the_clock(klarna_sandbox: KlarnaSandbox) -> None:
    order_id = klarna_sandbox.create_order(6000, expires_in=3600)
    klarna_sandbox.advance(3601)
    with klarna_sandbox.client() as client, pytest.raises(takings.Rejected):
        client.capture(order_id, captured_amount=6000)


def test_mistakes_are_told(klarna_sandbox: KlarnaSandbox) -> None:
    with pytest.raises(ValueError, match=r"lost_anwser.*expected one of") as caught:
        klarna_sandbox.create_order(1, faults=[{"fault": "lost_anwser"}])
    # the type knows every fault of the sandbox
    known = re.findall(r"`(\w+)`", str(caught.value).split("expected one of")[1])
    names, _ = typing.get_args(Fault)
    assert sorted(known) == sorted(typing.get_args(names))
    with pytest.raises(ValueError, match="unknown field `amount`"):
        klarna_sandbox.create_order(1, amount=2)
    with pytest.raises(ValueError, match="exists"):
        klarna_sandbox.create_order(1, order_id=klarna_sandbox.create_order(1))


def test_without_pytest() -> None:
    with KlarnaSandbox() as sandbox:
        assert repr(sandbox) == f"<takings.testing.KlarnaSandbox {sandbox.url}>"
        assert sandbox.ledger() == []
    sandbox.close()
    with pytest.raises(ConnectionRefusedError):
        sandbox.ledger()


def test_a_forked_child_does_not_hold_the_sandbox_up() -> None:
    """It has the sandbox's standard input too."""
    script = textwrap.dedent("""
        import os, time
        from takings.testing import KlarnaSandbox
        with KlarnaSandbox() as sandbox:
            child = os.fork()
            if not child:
                time.sleep(30)
                os._exit(0)
        print("closed", flush=True)
        os.kill(child, 9)
        os.waitpid(child, 0)
    """)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "closed\n", "")


# --- pytest inside of pytest ---------------------------------------------------------------------

SHOP = """
import takings

def ship(order_id):
    client = takings.Client.from_env()
    key = takings.idempotency_key(order_id, "parcel-1")
    return client.capture(order_id, captured_amount=6000, idempotency_key=key)
"""

TESTS = """
import pytest, takings, shop

@pytest.mark.parametrize("turn", range(4))
def test_a_lost_answer(klarna_env, turn):
    assert klarna_env.ledger() == klarna_env.requests() == []
    order_id = klarna_env.create_order(6000, order_id="the-order", faults=["lost_answer"])
    assert shop.ship(order_id).attempts == 2
    assert len(klarna_env.ledger(order_id)) == 1

def test_it_is_one(klarna_env, klarna_sandbox):
    assert klarna_env is klarna_sandbox
"""


@pytest.fixture
def shop(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    # A developer's own settings must not lead the tests to Klarna.
    monkeypatch.setenv("KLARNA_ENVIRONMENT", "live")
    monkeypatch.setenv("KLARNA_API_KEY", "a-key")
    pytester.makepyfile(shop=SHOP, test_shop=TESTS)
    return pytester


@pytest.mark.parametrize("how", [(), ("-n", "2"), ("-p", "no:randomly", "-W", "error")])
def test_a_shops_tests(shop: pytest.Pytester, how: tuple[str, ...]) -> None:
    shop.runpytest_subprocess(*how).assert_outcomes(passed=5)


def test_a_shop_that_doubles_is_caught(shop: pytest.Pytester) -> None:
    """The plugin's purpose: this shop takes a fresh key for each call, and calls twice."""
    broken = SHOP.replace(", idempotency_key=key", "").replace(
        "    return client", "    client.capture(order_id, captured_amount=10)\n    return client"
    )
    shop.makepyfile(shop=broken)
    shop.runpytest_subprocess("-k", "lost").assert_outcomes(failed=4)


def test_it_costs_nothing_unused(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        import sys, subprocess

        def test_light():
            assert "pytest_takings" in sys.modules
            assert "takings" not in sys.modules
    """)
    pytester.runpytest_subprocess().assert_outcomes(passed=1)
    ended = pytester.run(
        sys.executable, "-c", "import takings, sys; assert 'pytest' not in sys.modules"
    )
    assert ended.ret == 0


def test_the_fixtures_have_a_manual(pytester: pytest.Pytester) -> None:
    shown = pytester.runpytest_subprocess("--fixtures").stdout.str()
    assert "klarna_sandbox -- " in shown
    assert "stand-in Klarna, empty for each test" in shown
    assert "klarna_env -- " in shown


def test_the_readmes_snippet(pytester: pytest.Pytester) -> None:
    text = (ROOT / "python" / "README.md").read_text(encoding="utf-8")
    [snippet] = [
        block
        for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL)
        if "klarna_env" in block
    ]
    pytester.makepyfile(my_shop=SHOP, test_my_shop=snippet)
    pytester.runpytest_subprocess().assert_outcomes(passed=snippet.count("def test_"))


def test_it_runs_from_wherever_the_tests_run(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder `takings` of the shop's own must not be taken for the package."""
    (pytester.path / "takings").mkdir()
    (pytester.path / "takings" / "__main__.py").write_text("raise SystemExit('the wrong one')")
    monkeypatch.setattr(sys, "path", [path for path in sys.path if Path(path) != pytester.path])
    with KlarnaSandbox() as sandbox:
        assert sandbox.ledger() == []


def run(script: str, **settings: str) -> str:
    """The output of a program of its own, whose errors fail the test."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **settings},
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("executable", ["sys.executable", "'/nonexistent/uwsgi'", "''", "None"])
def test_no_interpreter_is_looked_for(executable: str) -> None:
    """Frozen programs, uWSGI and embedded Python name another program, or none."""
    assert (
        run(f"""
        import os, sys
        sys.executable, sys.frozen = {executable}, True
        def audit(event, arguments):
            if event in ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.fork", "os.system"):
                os.write(2, event.encode())
        sys.addaudithook(audit)
        from takings.testing import KlarnaSandbox
        with KlarnaSandbox() as sandbox, sandbox.client() as client:
            order_id = sandbox.create_order(1, faults=["lost_answer"])
            print(client.capture(order_id, captured_amount=1).attempts)
    """)
        == "2\n"
    )


def test_it_ends_with_the_program() -> None:
    assert (
        run("""
        from takings.testing import KlarnaSandbox
        kept = KlarnaSandbox()
        kept.create_order(1, order_id="o", faults=["stall"])
        print("over")
    """)
        == "over\n"
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_forked_children_call_it_and_cannot_end_it() -> None:
    assert (
        run("""
        import os, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        from takings.testing import KlarnaSandbox
        with KlarnaSandbox() as sandbox, sandbox.client(max_attempts=1) as client:
            order_id = sandbox.create_order(9)
            client.capture(order_id, captured_amount=1)
            for _ in range(2):
                if not os.fork():
                    with sandbox:
                        client.capture(order_id, captured_amount=1)
                    del sandbox
                    # as a program ends, with its exit handlers
                    raise SystemExit
            for _ in range(2):
                assert os.wait()[1] == 0
            print(len(sandbox.ledger(order_id)))
    """)
        == "3\n"
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.parametrize("fault", ["lost_answer", "reset_after_commit"])
def test_a_forked_child_holds_no_connection_open(fault: str) -> None:
    """The parent's call ends as soon as the sandbox ends its connection."""
    assert (
        run(f"""
        import os, time, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        import takings
        from takings.testing import KlarnaSandbox
        sandbox = KlarnaSandbox()
        client = sandbox.client(max_attempts=1, timeout=20)
        order_id = sandbox.create_order(9)
        client.capture(order_id, captured_amount=1)
        child = os.fork()
        if not child:
            time.sleep(60)
            os._exit(0)
        sandbox.fault(order_id, "{fault}")
        began = time.monotonic()
        try:
            client.capture(order_id, captured_amount=1)
        except takings.OutcomeUnknown as error:
            print(error.kind, time.monotonic() - began < 5)
        sandbox.close()
        try:
            sandbox.ledger()
        except ConnectionRefusedError:
            print("closed")
        os.kill(child, 9)
        os.waitpid(child, 0)
    """)
        == "outcome_unknown True\nclosed\n"
    )

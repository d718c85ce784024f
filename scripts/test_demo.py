"""Tests beside a run of the demo: its other mode, its refusals, and the faults that it notices.

The sandbox plays the real Klarna.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import demo
import pytest

SAMPLE = str(demo.SAMPLE)
SETTINGS = (*demo.VARIABLES, "ORDER_ID", "FILE")


@pytest.fixture
def klarna() -> Iterator[demo.Sandbox]:
    with demo.sandbox() as sandbox:
        yield sandbox


def run(**settings: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    return subprocess.run(
        [sys.executable, Path(demo.__file__)],
        env=environment | settings,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_five_languages_take_the_money_once(klarna: demo.Sandbox) -> None:
    order_id = klarna.order(5 * 6000)
    done = run(**klarna.klarna, ORDER_ID=order_id, FILE=SAMPLE)
    assert done.returncode == 0, done.stderr
    [entry] = klarna.ledger(order_id)
    assert len(klarna.requests(order_id)) == 5
    assert done.stdout.count(str(entry["capture_id"])) == 5
    assert str(entry["idempotency_key"]) in done.stdout
    # The host is said before anything is sent there.
    assert done.stdout.index(klarna.url) < done.stdout.index(str(entry["capture_id"]))


def test_five_programs_derive_one_key(klarna: demo.Sandbox) -> None:
    order_id = klarna.order(5 * 6000)
    runs = [demo.capture(each, klarna.klarna, order_id, demo.SAMPLE) for each in demo.PROGRAMS]
    [entry] = klarna.ledger(order_id)
    assert {(run.capture_id, run.key) for run in runs} == {
        (entry["capture_id"], entry["idempotency_key"])
    }


def test_a_second_run_takes_nothing_more(klarna: demo.Sandbox) -> None:
    order_id = klarna.order(5 * 6000)
    for _ in range(2):
        done = run(**klarna.klarna, ORDER_ID=order_id, FILE=SAMPLE)
        assert done.returncode == 0, done.stderr
    assert len(klarna.ledger(order_id)) == 1


def test_klarnas_no_is_shown(klarna: demo.Sandbox) -> None:
    done = run(**klarna.klarna, ORDER_ID=klarna.order(100), FILE=SAMPLE)
    assert done.returncode == 1
    assert "CAPTURE_NOT_ALLOWED" in done.stderr


@pytest.mark.parametrize("chosen", [{}, {"ORDER_ID": "an-order"}, {"FILE": SAMPLE}])
def test_nothing_is_sent_before_both_are_named(
    klarna: demo.Sandbox, chosen: dict[str, str]
) -> None:
    done = run(**klarna.klarna, **chosen)
    assert done.returncode == 1
    assert "ORDER_ID=" in done.stderr
    assert klarna.all_requests() == []


@pytest.mark.parametrize("settings", [{"ORDER_ID": "an-order"}, {"FILE": SAMPLE}])
def test_an_order_without_klarna_is_refused(settings: dict[str, str]) -> None:
    done = run(**settings)
    assert done.returncode == 1
    assert "KLARNA_" in done.stderr


@pytest.mark.parametrize("text", [None, "captured_amount: 1", "[1]"])
def test_a_file_that_holds_no_capture(
    klarna: demo.Sandbox, tmp_path: Path, text: str | None
) -> None:
    file = tmp_path / "request.json"
    if text is not None:
        file.write_text(text)
    done = run(**klarna.klarna, ORDER_ID=klarna.order(1), FILE=str(file))
    assert done.returncode == 1
    assert f"FILE {file}" in done.stderr
    assert "Traceback" not in done.stderr


# Each of these programs breaks what the demo shows.

MADE_UP = "print('capture made-up\\nkey made-up')"
FAILING = "raise SystemExit('no module')"
ANOTHER_KEY_EACH_TIME = """
import base64, http.client, os, sys, uuid
order_id, file = sys.argv[1], open(sys.argv[2], "rb").read()
host = os.environ["KLARNA_BASE_URL"].removeprefix("http://")
while True:
    key = str(uuid.uuid4())
    connection = http.client.HTTPConnection(host, timeout=120)
    headers = {
        "Authorization": "Basic " + base64.b64encode(b"sandbox:sandbox").decode(),
        "Content-Type": "application/json",
        "Klarna-Idempotency-Key": key,
    }
    try:
        connection.request("POST", f"/ordermanagement/v1/orders/{order_id}/captures", file, headers)
        answer = connection.getresponse()
    except http.client.RemoteDisconnected:
        continue
    print("capture", answer.headers["Capture-Id"])
    print("key", key)
    break
"""


@pytest.mark.parametrize(
    ("program", "noticed"),
    [
        (MADE_UP, "Lua: the ledger should hold"),
        (FAILING, "Lua: exit 1: no module"),
        (ANOTHER_KEY_EACH_TIME, "Lua: every request should carry the key"),
    ],
)
def test_it_notices(program: str, noticed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(demo.PROGRAMS, "Lua", [sys.executable, "-c", program])
    with pytest.raises(demo.Broken, match=noticed):
        demo.main()


@pytest.mark.parametrize(
    ("program", "noticed"),
    [
        ("print('captured made-up 1')", "Lua: printed other steps"),
        (
            "[print(word, 'made-up', 2) for word in "
            "('captured', 'captured', 'tracked', 'refunded', 'released')]",
            "Lua: 85.00 should be captured",
        ),
    ],
)
def test_it_notices_a_life_that_was_not_lived(
    klarna: demo.Sandbox, program: str, noticed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "LIVES", {"Lua": [sys.executable, "-c", program]})
    with pytest.raises(demo.Broken, match=noticed):
        demo.show_lives(klarna)


def test_a_life_is_lived_once(klarna: demo.Sandbox) -> None:
    order_id = klarna.order(10_000)
    for surface, words in demo.LIVES.items():
        said, _ = demo.program(surface, klarna.klarna, *words, order_id)
        assert [line.split()[0] for line in said.splitlines()] == list(demo.STEPS)
    assert len(klarna.ledger(order_id)) == len(demo.STEPS)
    assert klarna.audit() == []


def test_a_ledger_that_books_a_capture_twice_or_not_at_all_is_noticed(klarna: demo.Sandbox) -> None:
    order_id = klarna.order(2 * 6000)
    once = demo.capture("Rust", klarna.klarna, order_id, demo.SAMPLE)
    demo.judge(klarna, {order_id: 6000}, {order_id: once.capture_id})
    for amount, booked in [(6001, once.capture_id), (6000, "made-up")]:
        with pytest.raises(demo.Broken):
            demo.judge(klarna, {order_id: amount}, {order_id: booked})
    with pytest.raises(demo.Broken, match="should hold the captures"):
        demo.judge(klarna, {order_id: 6000}, {})
    another = demo.capture("Rust", klarna.klarna, order_id, demo.SAMPLE, "another-key")
    with pytest.raises(demo.Broken, match="2 captures of 1 orders"):
        demo.judge(klarna, {order_id: 6000}, {order_id: another.capture_id})


@pytest.mark.parametrize(
    ("program", "noticed"),
    [
        ("raise SystemExit('no ledger')", "takings enqueue .*: no ledger"),
        # This program enqueues, and its worker ends at once.
        ("import os, sys; sys.argv[1] == 'worker' or os.execv(sys.argv[0], sys.argv)", "ended by"),
    ],
)
def test_it_notices_a_ledger_that_does_not_work(
    klarna: demo.Sandbox, program: str, noticed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = f"import sys; sys.argv[0] = {str(demo.TAKINGS[0])!r}\n"
    monkeypatch.setattr(demo, "PARCELS", 3)
    monkeypatch.setattr(demo, "TAKINGS", [sys.executable, "-c", before + program])
    with pytest.raises(demo.Broken, match=noticed):
        demo.show_ledger(klarna)

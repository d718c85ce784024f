"""The night batch of a shop: tests that the programs for C, C++, PHP and COBOL share."""

from __future__ import annotations

from pathlib import Path

from support import Program, Sandbox

LOST = {"fault": "lost_answer"}
TRY_AGAIN = 75


def night(
    sandbox: Sandbox, *command: str | Path, lines: str, **environment: str
) -> tuple[int, list[str]]:
    """Runs the program once over these lines: its status and what it printed, a line each."""
    account = {
        "KLARNA_BASE_URL": sandbox.url,
        "KLARNA_USERNAME": "sandbox",
        "KLARNA_PASSWORD": "sandbox",
    }
    with Program(*command, environment={**account, **environment}) as program:
        output, complaints = program.process.communicate(lines, timeout=60)
        assert complaints == ""
        return program.process.returncode, output.splitlines()


def captures_each_once(sandbox: Sandbox, *command: str | Path, **environment: str) -> None:
    """The batch is run again until every outcome is known; the money of each line moves once."""
    orders = {
        "fine": sandbox.order(),
        # takings repeats this call by itself
        "lost": sandbox.order(LOST),
        # three attempts do not settle this call
        "unknown": sandbox.order(LOST, LOST, LOST, LOST),
        "dear": sandbox.order(order_amount=200_000_000),
    }
    amounts = {"fine": 6000, "lost": 1, "unknown": 2, "dear": 200_000_000}
    lines = "".join(f"{order} {amounts[name]} {name}\n" for name, order in orders.items())

    status, printed = night(sandbox, *command, lines=lines, **environment)
    assert status == TRY_AGAIN, printed
    told = dict(line.split(" ", 1) for line in printed)
    assert told[orders["unknown"]].startswith("unknown outcome_unknown: "), printed

    status, printed = night(sandbox, *command, lines=lines, **environment)
    assert status == 0, printed
    again = dict(line.split(" ", 1) for line in printed)
    for name, order in orders.items():
        [capture] = sandbox.ledger(order)
        assert capture["captured_amount"] == amounts[name]
        assert capture["reference"] == name
        assert again[order] == f"{name} captured {capture['capture_id']}"
        assert name == "unknown" or told[order] == again[order]


def tells_a_refusal(sandbox: Sandbox, *command: str | Path, **environment: str) -> None:
    """A refused line does not keep the next one from its capture, and every amount and name arrives
    unchanged."""
    poor, fine = sandbox.order(order_amount=5), sandbox.order()
    amounts = ["-1", "60.00", "six", str(2**32 + 6), "1000000000000000006000"]
    bad = ["nonsense", f"{fine} 60 parcel 2", *[f"{fine} {amount} parcel" for amount in amounts]]
    lines = "".join(f"{line}\n" for line in [f"{poor} 6 parcel", *bad, f"{fine} 6 parcel"])
    status, printed = night(sandbox, *command, lines=lines, **environment)
    assert status == 1, printed
    assert sandbox.ledger(poor) == []
    [capture] = sandbox.ledger(fine)
    assert capture["captured_amount"] == 6
    told = [line.split(": ")[0] for line in printed]
    told.remove(f"{fine} parcel captured {capture['capture_id']}")
    told.remove(f"{poor} parcel rejected")
    assert len(told) == len(bad)
    assert set(told) == {"no ORDER_ID AMOUNT NAME", f"{fine} parcel invalid_input"}


def needs_an_account(sandbox: Sandbox, *command: str | Path, **environment: str) -> None:
    """Without a password nothing is sent, and the program says what is missing."""
    without = {**environment, "KLARNA_PASSWORD": ""}
    with Program(*command, environment={"KLARNA_BASE_URL": sandbox.url, **without}) as program:
        output, complaints = program.process.communicate("", timeout=60)
        assert program.process.returncode not in (0, TRY_AGAIN)
        assert "username" in output + complaints

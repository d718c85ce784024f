"""The Saleor app of examples/hosts/saleor, beside a stand-in: a charge is captured once."""

from __future__ import annotations

import http.server
import importlib.util
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
import takings
from cryptography.hazmat.primitives.asymmetric import rsa
from parcels import HOSTS
from takings.testing import KlarnaSandbox

FOLDER = HOSTS / "saleor"


class Saleor:
    """Signs webhooks as Saleor does, has its public keys, and takes reports."""

    def __init__(self) -> None:
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key()))
        self.keys = {"keys": [{**public, "use": "sig", "kid": "1"}]}
        self.reports: list[dict[str, Any]] = []
        self.errors: list[dict[str, str]] = []
        saleor = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self, told: object) -> None:
                body = json.dumps(told).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self) -> None:
                assert self.path == "/.well-known/jwks.json"
                self.answer(saleor.keys)

            def do_POST(self) -> None:
                assert (self.path, self.headers["Authorization"]) == ("/graphql/", "Bearer of-app")
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                assert "transactionEventReport(" in asked["query"]
                if not saleor.errors:
                    saleor.reports.append(asked["variables"])
                told = {"alreadyProcessed": False, "errors": saleor.errors}
                self.answer({"data": {"transactionEventReport": told}})

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/graphql/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def signature(self, body: bytes) -> str:
        return jwt.PyJWS().encode(
            body, self.key, algorithm="RS256", headers={"kid": "1"}, is_payload_detached=True
        )


@pytest.fixture
def saleor() -> Iterator[Saleor]:
    saleor = Saleor()
    yield saleor
    saleor.server.shutdown()
    saleor.server.server_close()


class App:
    def __init__(self, saleor: Saleor, klarna: KlarnaSandbox) -> None:
        self.saleor, self.klarna = saleor, klarna
        spec = importlib.util.spec_from_file_location("takings_of_saleor", FOLDER / "charges.py")
        assert spec
        assert spec.loader
        self.module: Any = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.module)
        self.web = self.module.app.test_client()

    def settle(self) -> None:
        self.module.settle()

    def charge(
        self, order_id: str, events: list[str], amount: str = "60.0", signed: bool = True
    ) -> tuple[int, Any]:
        """TRANSACTION_CHARGE_REQUESTED, whose payload is what charge.graphql asks for."""
        transaction = {
            "id": "VHJhbnNhY3Rpb25JdGVtOjE=",
            "pspReference": order_id,
            "events": [{"id": event, "type": "CHARGE_REQUEST"} for event in events],
        }
        action = f'{{"amount": {amount}, "currency": "EUR"}}'
        body = f'{{"action": {action}, "transaction": {json.dumps(transaction)}}}'.encode()
        signature = self.saleor.signature(body if signed else body + b" ")
        head = {"Saleor-Signature": signature, "Content-Type": "application/json"}
        answer = self.web.post("/charge", data=body, headers=head)
        return answer.status_code, answer.get_json()


@pytest.fixture
def app(
    saleor: Saleor, klarna_env: KlarnaSandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> App:
    monkeypatch.setenv("SALEOR_API_URL", saleor.url)
    monkeypatch.setenv("SALEOR_TOKEN", "of-app")
    monkeypatch.setenv("CHARGES", str(tmp_path / "charges.sqlite"))
    return App(saleor, klarna_env)


def test_a_charge_is_captured_and_reported(app: App) -> None:
    order_id = app.klarna.create_order(6000)
    key = takings.idempotency_key(order_id, "event-1")
    assert app.charge(order_id, ["event-1"]) == (200, {"pspReference": key})
    assert app.klarna.requests() == []
    app.settle()
    [entry] = app.klarna.ledger(order_id)
    assert (entry["captured_amount"], entry["idempotency_key"]) == (6000, key)
    [report] = app.saleor.reports
    assert report == {
        "id": "VHJhbnNhY3Rpb25JdGVtOjE=",
        "type": "CHARGE_SUCCESS",
        "amount": "60.0",
        "pspReference": key,
        "message": f"captured as {entry['capture_id']}",
    }
    app.settle()
    assert len(app.saleor.reports) == 1


def test_an_unknown_outcome_is_no_failure(app: App) -> None:
    # The setting reconcile reads the captures as well, so its answers are lost too.
    order_id = app.klarna.create_order(6000, faults=["lost_answer"] * 6)
    app.charge(order_id, ["event-1"])
    app.settle()
    assert app.saleor.reports == []
    app.settle()
    assert [report["type"] for report in app.saleor.reports] == ["CHARGE_SUCCESS"]
    assert len(app.klarna.ledger(order_id)) == 1


def test_a_charge_that_saleor_asks_for_twice_is_one(app: App) -> None:
    order_id = app.klarna.create_order(12000)
    assert app.charge(order_id, ["event-1"]) == app.charge(order_id, ["event-1"])
    app.settle()
    app.charge(order_id, ["event-1", "event-2"])
    app.settle()
    assert len(app.klarna.ledger(order_id)) == 2
    assert len(app.saleor.reports) == 2


def test_a_refusal_is_reported(app: App) -> None:
    order_id = app.klarna.create_order(1000)
    app.charge(order_id, ["event-1"])
    app.settle()
    [report] = app.saleor.reports
    assert report["type"] == "CHARGE_FAILURE"
    assert "CAPTURE_NOT_ALLOWED" in report["message"]


def test_a_report_that_saleor_refuses_is_sent_again(app: App) -> None:
    order_id = app.klarna.create_order(6000)
    app.charge(order_id, ["event-1"])
    app.saleor.errors = [{"field": "id", "code": "NOT_FOUND", "message": "no"}]
    app.settle()
    app.saleor.errors = []
    app.settle()
    assert len(app.saleor.reports) == 1
    assert len(app.klarna.requests()) == 1, "the result was stored"


def test_a_charge_that_nobody_settled_for_a_day_is_not_sent(app: App) -> None:
    order_id = app.klarna.create_order(6000)
    app.charge(order_id, ["event-1"])
    with app.module.charges() as charges:
        charges.execute("UPDATE charge SET since = since - 2 * 86400")
    # A request that Saleor repeats does not make the charge younger.
    app.charge(order_id, ["event-1"])
    app.settle()
    assert app.klarna.ledger(order_id) == []
    assert app.saleor.reports == []


def test_only_saleor_s_requests_are_taken(app: App) -> None:
    order_id = app.klarna.create_order(6000)
    assert app.charge(order_id, ["event-1"], signed=False)[0] == 401
    assert app.web.post("/charge", data=b"{}").status_code == 401
    app.settle()
    assert app.klarna.requests() == []


def test_the_query_asks_for_what_is_read() -> None:
    query = (FOLDER / "charge.graphql").read_text()
    assert query.count("{") == query.count("}")
    read = re.findall(
        r"(?:asked|action|tx|event)\[\"(\w+)\"\]", (FOLDER / "charges.py").read_text()
    )
    assert {"action", "transaction", "amount", "currency", "events", "pspReference"} <= set(read)
    for name in read:
        assert re.search(rf"\b{name}\b", query), name

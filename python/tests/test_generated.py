"""The generated half is the core's: its operations, the fields of its records, its options."""

from __future__ import annotations

import inspect
import json
import re
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import takings
from conftest import Sandbox
from takings import (
    _operations,  # pyright: ignore[reportPrivateUsage]
    _takings,  # pyright: ignore[reportPrivateUsage]
)

SCHEMA: dict[str, Any] = json.loads(_takings.schema())
OPERATIONS: list[dict[str, Any]] = SCHEMA["operations"]
UNAUTHORIZED = {"fault": "status", "status": 401}


def public(class_: type) -> set[str]:
    return {name for name in vars(class_) if not name.startswith("_")}


def test_the_methods_are_the_operations() -> None:
    names = {operation["name"] for operation in OPERATIONS}
    halves = {"prepare", *(f"prepare_{name}" for name in names - {"capture"})}
    assert public(_operations.Client) == names | halves | {"call", "prepare_call"}
    assert public(_operations.AsyncOperations) == names | {"call"}
    for name in names:
        for class_ in (takings.Client, takings.AsyncClient):
            assert inspect.getdoc(getattr(class_, name))


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: str(operation["name"]))
def test_options_are_arguments(operation: dict[str, Any]) -> None:
    def names(options: str) -> set[str]:
        fields = SCHEMA["objects"][SCHEMA[options]]["fields"]
        return {field["name"].removesuffix("_ms") for field in fields}

    parameters = inspect.signature(getattr(takings.Client, operation["name"])).parameters
    own = set(parameters) - {"self", "order_id", "request", "fields", operation["id"]}
    if operation["takes_key"]:
        wanted = names("options") | {"idempotency_key"}
        assert own == (wanted if operation["looks_first"] else wanted - {"look_first"})
    else:
        assert own == names("client_options")


# Those that a call can end in, and what they hold.
REPLIES = {operation["reply"] for operation in OPERATIONS}
RECORDS = [
    record for record in SCHEMA["records"] if record["name"] in {*REPLIES, "Attempt", "Error"}
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: str(record["name"]))
def test_each_field_of_a_record_is_an_attribute(record: dict[str, Any]) -> None:
    is_error = record["name"] == "Error"
    value: Any = takings.TakingsError("message") if is_error else getattr(takings, record["name"])
    for field in record["fields"]:
        assert hasattr(value, field["name"]), field["name"]


def test_each_kind_has_a_class() -> None:
    classes = {class_.kind for class_ in takings.TakingsError.__subclasses__()}
    assert classes == {kind["name"] for kind in SCHEMA["error_kinds"]}


# --- any operation by its name --------------------------------------------------------------------


def test_an_operation_by_its_name(client: takings.Client, order_id: str) -> None:
    request: dict[str, Any] = {"captured_amount": 10, "reference": "r"}
    key = takings.new_idempotency_key()
    capture = client.call("capture", order_id, request, idempotency_key=key)
    assert isinstance(capture, takings.Capture)
    again = client.call("capture", order_id, **request, idempotency_key=key)
    assert again.capture_id == capture.capture_id
    found = client.call("reconcile", order_id, request)
    assert found.capture_id == capture.capture_id
    call = client.prepare_call("reconcile", order_id, **request)
    assert (call.operation, call.outcome) == ("reconcile", None)
    assert call.send().capture_ids == found.capture_ids
    assert call.outcome == "once"


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        ("captrue", 'operation is "captrue", which is not known; did you mean "capture"?'),
        (5, "operation is an int; it must be a string"),
        ("\ud800", "half of a surrogate pair"),
    ],
)
def test_an_operation_that_is_none(client: takings.Client, operation: Any, message: str) -> None:
    with pytest.raises(takings.InvalidInput, match=re.escape(message)):
        client.call(operation, "order")


def test_a_key_is_of_its_operation() -> None:
    order = "f3392f8b-6116-4073-ab96-e330819e2c07"
    key = takings.idempotency_key(order, "parcel-1", "capture")
    assert key == takings.idempotency_key(order, "parcel-1")
    with pytest.raises(takings.InvalidInput):
        takings.idempotency_key(order, "parcel-1", operation="reconcile")
    wrong: Any = 5
    with pytest.raises(takings.InvalidInput, match="operation is an int; it must be"):
        takings.idempotency_key(order, "parcel-1", wrong)


# --- first_use and first_used ---------------------------------------------------------------------


def test_a_refusal_of_a_key_whose_first_use_is_not_known(
    sandbox: Sandbox, client: takings.Client
) -> None:
    with pytest.raises(takings.OutcomeUnknown) as caught:
        client.capture(sandbox.order(UNAUTHORIZED), captured_amount=1, idempotency_key="given-401")
    assert "Klarna refused the credentials (401)" in caught.value.message
    assert "same key" in caught.value.message
    capture: Any = client.capture
    for request, fields in (
        (None, {"captured_amount": 1, "first_use": True}),
        ({"captured_amount": 1}, {"first_use": True}),
        ({"captured_amount": 1, "first_use": True}, {}),
    ):
        key = takings.new_idempotency_key()
        with pytest.raises(takings.Rejected):
            capture(sandbox.order(UNAUTHORIZED), request, idempotency_key=key, **fields)


@pytest.fixture(params=["datetime", "float", "int"])
def long_ago(request: Any) -> Any:
    moment = datetime.now(timezone(timedelta(hours=5))) - timedelta(hours=25)
    seconds = moment.timestamp()
    return {"datetime": moment, "float": seconds, "int": int(seconds)}[request.param]


def test_a_key_past_its_day_is_not_sent(
    sandbox: Sandbox, client: takings.Client, long_ago: Any
) -> None:
    order_id = sandbox.order()
    key = takings.new_idempotency_key()
    with pytest.raises(takings.OutcomeUnknown) as caught:
        client.capture(order_id, captured_amount=1, idempotency_key=key, first_used=long_ago)
    assert caught.value.attempts == 0
    assert sandbox.requests(order_id) == []


def test_a_fresh_time_is_sent(client: takings.Client, order_id: str) -> None:
    now = datetime.now(timezone.utc)
    for request, fields in (({"captured_amount": 1}, {}), (None, {"captured_amount": 1})):
        call: Any = client.capture
        key = takings.new_idempotency_key()
        assert call(order_id, request, idempotency_key=key, first_used=now, **fields)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"first_used": datetime(2026, 1, 1)}, "first_used is a datetime without a time zone"),
        ({"first_used": "2026"}, "first_used is "),
        ({"first_used": -1.5}, "first_used is -2"),
        ({"first_used": float("nan")}, "first_used is "),
        ({"first_used": float("inf")}, "first_used is "),
        ({"first_used": True}, "first_used is True"),
        ({"first_use": 1}, "first_use is "),
        ({"first_use": True, "first_used": 1}, "first_use and first_used are both given"),
    ],
)
def test_options_that_are_none(
    client: takings.Client, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(takings.InvalidInput, match=f"^{message}") as caught:
        client.capture("order", captured_amount=1, idempotency_key="k", **options)
    assert (caught.value.order_id, caught.value.idempotency_key) == ("order", "k")


def test_an_option_twice(client: takings.Client) -> None:
    request: Any = {"captured_amount": 1, "first_use": True}
    with pytest.raises(takings.InvalidInput, match="first_use is given twice"):
        client.capture("order", request, first_use=True)


# --- the package's imports ------------------------------------------------------------------------


def imports(source: Path) -> set[str]:
    """The modules of the package that one of them imports, for type checkers too."""
    text = source.read_text(encoding="utf-8")
    named = re.findall(r"^ *from \.(\w+) import", text, re.MULTILINE)
    bare = re.findall(r"^ *from \. import (\w+)", text, re.MULTILINE)
    return {*named, *bare}


def test_imports_make_no_circle() -> None:
    folder = Path(takings.__file__).parent
    left = {
        source.stem: imports(source)
        for source in (*folder.glob("*.py"), *folder.glob("*.pyi"))
        if source.stem != "__init__"
    }
    assert left["_takings"] >= {"outcomes", "steps"}
    while left:
        free = {name for name, needed in left.items() if not needed & set(left)}
        assert free, f"a circle: {left}"
        left = {name: needed for name, needed in left.items() if name not in free}

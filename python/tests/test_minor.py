"""Amounts as people write them."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
import takings


@pytest.mark.parametrize(
    ("amount", "currency", "expected"),
    [
        ("60.00", "EUR", 6000),
        ("60.5", "eur", 6050),
        (60, "EUR", 6000),
        (-4, "SEK", -400),
        (1500, "JPY", 1500),
        (Decimal("60.00"), "EUR", 6000),
        (Decimal("6E+1"), "EUR", 6000),
        (Decimal("1.234"), "KWD", 1234),
        (Decimal("1E-2"), "EUR", 1),
        (Decimal("-0"), "EUR", 0),
        (2**62 // 100, "EUR", 2**62 // 100 * 100),
    ],
)
def test_amounts_are_exact(amount: Any, currency: str, expected: int) -> None:
    got = takings.minor(amount, currency)
    assert (type(got), got) == (int, expected)


@pytest.mark.parametrize(
    ("amount", "message"),
    [
        (60.0, "amount is a float; it must be a str, an int or a decimal.Decimal"),
        (True, "amount is a bool; it must be"),
        (None, "amount is None; it must be"),
        (b"60.00", "amount is a bytes; it must be"),
        (Fraction(1, 2), "amount is a Fraction; it must be"),
        ("19,99", 'amount is "19,99" (with a comma); it must be a decimal number'),
        ("\ud800", "amount is a str with half of a surrogate pair"),
        (Decimal("0.001"), "which would have to be rounded"),
        (Decimal("NaN"), 'amount is "NaN" (not a decimal number)'),
        (Decimal("-Infinity"), 'amount is "-Infinity" (not a decimal number)'),
        (Decimal("1E+999999999"), 'amount is "1E+999999999" (not a decimal number)'),
        (Decimal("1E-999999999"), 'amount is "1E-999999999" (not a decimal number)'),
        (10**30, "too large"),
        (10**50, "amount is an int beyond every amount"),
    ],
)
def test_what_is_not_exact_is_refused(amount: Any, message: str) -> None:
    with pytest.raises(takings.InvalidInput) as refused:
        takings.minor(amount, "EUR")
    assert message in str(refused.value)


@pytest.mark.parametrize("currency", ["", "EURO", "XXX", None, 978])
def test_what_is_no_currency(currency: Any) -> None:
    with pytest.raises(takings.InvalidInput, match=r"^currency is "):
        takings.minor("60.00", currency)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: wrong("minor")("60.00", curency="EUR"), "did you mean currency?"),
        (lambda: wrong("minor")(amuont="60.00", currency="EUR"), "did you mean amount?"),
        (lambda: wrong("minor")("60.00", "EUR", rounding=1), "rounding is not a field of a call"),
        (lambda: wrong("minor")("60.00"), "currency is None; it must be a string"),
        (lambda: wrong("minor")(currency="EUR"), "amount is None; it must be"),
        (lambda: wrong("idempotency_key")("order", nmae="parcel"), "did you mean name?"),
        (lambda: wrong("idempotency_key")("o", "n", operatoin="capture"), "mean operation?"),
        (lambda: wrong("idempotency_key")("order"), "name is None; it must be a string"),
        (lambda: wrong("new_idempotency_key")(order_id="o"), "order_id is not a field of"),
        (lambda: wrong("new_idempotency_key")(**{'a"\n\ud800': 1}), ""),
    ],
)
def test_a_typo_in_a_keyword(call: Any, message: str) -> None:
    with pytest.raises(takings.InvalidInput) as refused:
        call()
    assert message in str(refused.value)


def wrong(name: str) -> Any:
    return getattr(takings, name)

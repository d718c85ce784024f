"""The words that help() shows: those of the stubs, also where the code is compiled."""

from __future__ import annotations

import ast
import inspect
import pydoc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import takings
from takings import (
    _takings,  # pyright: ignore[reportPrivateUsage]
    outcomes,
    steps,
)

STUBS = {"_takings": _takings, "outcomes": outcomes, "steps": steps}


def said(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    """The names that a stub documents, and the texts."""
    for node, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and (doc := ast.get_docstring(node)):
            yield node.name, doc
        if isinstance(node, ast.ClassDef):
            for name, doc in said(node.body):
                yield f"{node.name}.{name}", doc
        if (
            isinstance(node, ast.AnnAssign)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
        ):
            yield ast.unparse(node.target), inspect.cleandoc(str(after.value.value))


DOCUMENTED = [
    (module, name, doc)
    for module, of in STUBS.items()
    for name, doc in said(
        ast.parse(Path(str(of.__file__)).with_name(f"{module}.pyi").read_text()).body
    )
    # an attribute of an instance of Python's has no place for a text, and __init__ is the type's
    if not (name.endswith("__init__") or name in ("Reply",) or name.startswith("TakingsError."))
]


@pytest.mark.parametrize(
    ("module", "name", "doc"),
    DOCUMENTED,
    ids=[f"{module}.{name}" for module, name, _ in DOCUMENTED],
)
def test_help_says_what_the_stub_says(module: str, name: str, doc: str) -> None:
    found: Any = STUBS[module]
    for part in name.split("."):
        found = getattr(found, part)
    assert " ".join((inspect.getdoc(found) or "").split()) == " ".join(doc.split())


def test_the_stubs_are_read() -> None:
    names = {name for _, name, _ in DOCUMENTED}
    assert names >= {"Client.from_env", "Call.send", "Call.order_id", "minor", "Capture.capture_id"}


@pytest.mark.parametrize("name", sorted(set(takings.__all__) - {"__version__"}))
def test_everything_public_is_documented(name: str) -> None:
    public: Any = getattr(takings, name)
    assert inspect.getdoc(public)
    if inspect.isclass(public) and dict not in public.__mro__:
        for attribute, value in vars(public).items():
            if not attribute.startswith("_") and (
                callable(value) or inspect.isdatadescriptor(value)
            ):
                assert inspect.getdoc(getattr(public, attribute)), f"{name}.{attribute}"


def test_help_shows_signatures() -> None:
    shown = pydoc.plain(pydoc.render_doc(takings.minor))
    assert "minor(amount, currency)" in shown
    assert "minor units" in shown
    shown = str(inspect.signature(takings.idempotency_key))
    assert shown == "(order_id, name, operation='capture', capture_id=None)"
    assert str(inspect.signature(takings.new_idempotency_key)) == "()"

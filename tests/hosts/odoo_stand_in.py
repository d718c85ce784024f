"""As much of Odoo as the module in examples/hosts/odoo uses: records, transactions, their hooks.

The names and their meanings are those of Odoo 17 and 18. A cursor sees the state of its beginning,
and its commit fails when another transaction has changed a record that it changed as well.
"""

from __future__ import annotations

import contextlib
import copy
import datetime
import importlib.util
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

SUPERUSER_ID = 1


class SerializationFailure(Exception):
    """Two transactions changed one record."""


class Callbacks:
    def __init__(self) -> None:
        self.added: list[Callable[[], object]] = []

    def add(self, added: Callable[[], object]) -> None:
        self.added.append(added)

    def clear(self) -> None:
        self.added.clear()

    def run(self) -> None:
        while self.added:
            self.added.pop(0)()


class Cursor:
    def __init__(self, database: Database) -> None:
        self.database = database
        self.dbname = database.name
        self.postcommit = Callbacks()
        self.begin()

    def begin(self) -> None:
        self.seen = copy.deepcopy(self.database.records)
        self.changed: set[tuple[str, int]] = set()

    def commit(self) -> None:
        committed, before = self.database.records, self.database.versions
        for record in self.changed:
            if before.get(record, 0) > self.started.get(record, 0):
                self.rollback()
                raise SerializationFailure(record)
        for model, number in self.changed:
            committed.setdefault(model, {})[number] = self.seen[model][number]
            before[model, number] = before.get((model, number), 0) + 1
        self.begin()
        self.postcommit.run()

    def rollback(self) -> None:
        self.postcommit.clear()
        self.begin()

    @property
    def started(self) -> dict[tuple[str, int], int]:
        return self._started

    @property
    def seen(self) -> dict[str, dict[int, dict[str, Any]]]:
        return self._seen

    @seen.setter
    def seen(self, seen: dict[str, dict[int, dict[str, Any]]]) -> None:
        self._seen, self._started = seen, dict(self.database.versions)


class Environment:
    def __init__(self, cr: Cursor, uid: int, context: dict[str, Any]) -> None:
        self.cr, self.uid, self.context = cr, uid, context

    def __getitem__(self, model: str) -> Any:
        return self.cr.database.classes[model](self, [])


class Model:
    """A recordset. A link to another record is stored as (model, id)."""

    _inherit = ""

    def __init__(self, env: Environment, ids: Iterable[int]) -> None:
        self.env, self.ids = env, list(ids)

    def browse(self, ids: int | list[int]) -> Any:
        return type(self)(self.env, [ids] if isinstance(ids, int) else ids)

    def create(self, values: dict[str, Any]) -> Any:
        stored = self.env.cr.seen.setdefault(self._inherit, {})
        number = len(stored) + 1
        stored[number] = {}
        record = self.browse(number)
        record.write(values)
        return record

    def write(self, values: dict[str, Any]) -> None:
        for number in self.ids:
            self.env.cr.seen[self._inherit][number].update(values)
            self.env.cr.changed.add((self._inherit, number))

    def search(self, domain: list[Any], order: str, limit: int) -> Any:
        [(name, sign, wanted)] = domain
        assert sign == "="
        found = self.env.cr.seen.get(self._inherit, {})
        numbers = [number for number, values in found.items() if values.get(name) == wanted]
        return self.browse(sorted(numbers, key=lambda number: found[number][order])[:limit])

    def filtered(self, wanted: Callable[[Any], Any]) -> Any:
        return self.browse([record.ids[0] for record in self if wanted(record)])

    def ensure_one(self) -> None:
        assert len(self.ids) == 1

    def __iter__(self) -> Iterator[Any]:
        return (self.browse(number) for number in self.ids)

    def __bool__(self) -> bool:
        return bool(self.ids)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if not self.ids:
            return False
        self.ensure_one()
        value = self.env.cr.seen[self._inherit][self.ids[0]].get(name, False)
        if isinstance(value, tuple):
            return self.env[value[0]].browse(value[1])
        return value


class Database:
    """The registry of a database, with the models that modules have extended."""

    known: dict[str, Database] = {}  # noqa: RUF012

    def __init__(self, name: str, models: Iterable[type[Model]], module: types.ModuleType) -> None:
        self.name = name
        self.records: dict[str, dict[int, dict[str, Any]]] = {}
        self.versions: dict[tuple[str, int], int] = {}
        self.classes: dict[str, Any] = {model._inherit: model for model in models}
        extending = [thing for thing in vars(module).values() if isinstance(thing, type)]
        for extension in extending:
            if issubclass(extension, Model):
                base = self.classes[extension._inherit]
                self.classes[extension._inherit] = type(base.__name__, (extension, base), {})
        Database.known[name] = self

    @contextlib.contextmanager
    def cursor(self) -> Iterator[Cursor]:
        cr = Cursor(self)
        yield cr
        cr.commit()


class Currency:
    def __init__(self, name: str, decimal_places: int) -> None:
        self.name, self.decimal_places = name, decimal_places

    def round(self, amount: float) -> float:
        return round(amount, self.decimal_places)


class Unit:
    """A unit of measure, as so many of the smallest."""

    def __init__(self, smallest: int) -> None:
        self.smallest = smallest

    def _compute_quantity(self, quantity: float, unit: Unit) -> float:
        return quantity * self.smallest / unit.smallest


class Field:
    """A field that a module declares: its value is read as any other of the record."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __set_name__(self, _: type, name: str) -> None:
        self.name = name

    def __get__(self, record: Model, _: type) -> Any:
        return record.__getattr__(self.name)


class Datetime(Field):
    """Odoo's times are in UTC and do not say so."""

    @staticmethod
    def now() -> datetime.datetime:
        return datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None, microsecond=0)


def module_of(folder: Path, name: str) -> types.ModuleType:
    """The module of Odoo in that folder, as Odoo imports it: with `odoo` there."""

    fields = types.SimpleNamespace(Char=Field, Integer=Field, Selection=Field, Datetime=Datetime)
    api = types.SimpleNamespace(Environment=Environment, model=lambda method: method)
    odoo: Any = types.ModuleType("odoo")
    odoo.SUPERUSER_ID, odoo.api, odoo.fields = SUPERUSER_ID, api, fields
    odoo.models = types.SimpleNamespace(Model=Model)
    registry: Any = types.ModuleType("odoo.modules.registry")
    registry.Registry = lambda database: Database.known[database]
    there = {"odoo": odoo, "odoo.modules": types.ModuleType("odoo.modules")}
    there["odoo.modules.registry"] = registry
    before = {name: sys.modules.get(name) for name in there}
    sys.modules.update(there)
    try:
        file = folder / "__init__.py"
        spec = importlib.util.spec_from_file_location(
            name, file, submodule_search_locations=[str(folder)]
        )
        assert spec
        assert spec.loader
        package = importlib.util.module_from_spec(spec)
        sys.modules[name] = package
        spec.loader.exec_module(package)
        return package
    finally:
        for name, module in before.items():
            if module:
                sys.modules[name] = module
            else:
                del sys.modules[name]

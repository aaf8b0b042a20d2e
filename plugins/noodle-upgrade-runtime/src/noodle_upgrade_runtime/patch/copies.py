"""Tables of a module that constructors copy into their instances: `self.filters = DEFAULT_FILTERS.copy()`.

Such a copy has one right answer when the new version's table differs: what the program put into its own copy stays, and
what the new version added to the table comes, as for the table itself. That holds where the constructor does nothing
else with the table or the copy: then nothing that the instance has was made from the old contents.
"""

from __future__ import annotations

import ast
import types
from collections.abc import Iterator
from typing import Any

from attrs import field, frozen

from noodle_upgrade_runtime.asking import is_a
from noodle_upgrade_runtime.patch.constructors import is_name, mangled
from noodle_upgrade_runtime.patch.correspondence import instance_dict
from noodle_upgrade_runtime.patch.fields import stores_of
from noodle_upgrade_runtime.patch.forms import contents_of
from noodle_upgrade_runtime.patch.sources import definition_of

__all__ = ["Additions", "Copied", "additions", "copied_tables", "held_copies", "with_all_of"]

_TABLES = (dict, list, set)
_TELLING = 2
"""So many keys a table must have at least, that a dict with all of them can be said to be made of it."""
_BUILDERS = frozenset({"dict", "list", "set", "copy"})


@frozen
class Copied:
    """An attribute of instances that is a copy of a table: the tables of the old and the new version."""

    attribute: str
    table: str
    base: Any
    staged: Any


@frozen(eq=False)
class Additions:
    """What the new version has added to a table, of which instances may have made dicts of their own."""

    keys: frozenset[Any]
    added: Copied
    contents: dict[Any, Any] = field(factory=dict)

    def made_of_it(self, own: dict[Any, Any]) -> bool:
        """Whether a dict that has all the keys holds half of the values as well.

        Keys alone may be those of a dict of the program's own, and to what was made of the values in another form, what
        the table has got must not be put as it is.
        """
        alike = sum(contents_of(own[key]) == what for key, what in self.contents.items())
        return bool(2 * alike >= len(self.contents))


def additions(name: str, base: Any, staged: Any) -> Additions | None:
    """Return what a table has got, None when it has got nothing or one could not tell what was made of it."""
    if type(base) is not dict or type(staged) is not dict or len(base) < _TELLING:
        return None
    contents = {key: contents_of(value) for key, value in base.items()}
    new = {key: value for key, value in staged.items() if key not in base}
    return Additions(frozenset(base), Copied("", name, {}, new), contents) if new else None


def with_all_of(instance: Any, one: Additions) -> Iterator[dict[Any, Any]]:
    """Yield the dicts of an instance's own that were made of a table: they have all of its keys, half of its values."""
    keys = one.keys
    for value in (instance_dict(instance) or {}).values():
        if type(value) is dict and len(value) >= len(keys) and keys <= value.keys() and one.made_of_it(value):
            yield value


def copied_tables(old: type, new: type) -> tuple[Copied, ...]:
    """Return what the constructors of both versions copy from one table each, and use for nothing else."""
    before, after = ({k: v for base in reversed(cls.__mro__) for k, v in _copies(base)} for cls in (old, new))
    return tuple(
        Copied(attribute, name, base, after[attribute][1])
        for attribute, (name, base) in before.items()
        if attribute in after and after[attribute][0] == name and type(base) is type(after[attribute][1])
    )


def held_copies(instance: Any, copied: Copied) -> Any:
    """Return an instance's own copy, None when it has none that could be merged."""
    held = (instance_dict(instance) or {}).get(copied.attribute)
    return held if type(held) is type(copied.base) else None


def _copies(cls: type) -> Iterator[tuple[str, tuple[str, Any]]]:
    """Yield (attribute, (qualified name of the table, table)) of a class's own constructor."""
    function = vars(cls).get("__init__")
    node = definition_of(function) if is_a(function, types.FunctionType) else None
    if node is None or not is_a(function, types.FunctionType) or not node.args.args:
        return
    me = node.args.args[0].arg
    names = [n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)]
    read = [
        n.attr
        for n in ast.walk(node)
        if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Load) and is_name(n.value, me)
    ]
    stores = stores_of(cls)
    for statement in node.body:
        attribute, value = _assigned(statement, me)
        table = _copied_name(value) if value is not None else ""
        found = function.__globals__.get(table)
        # What something else assigns as well may be the program's own by now.
        once = stores[mangled(attribute, cls)] == 1
        if table and type(found) in _TABLES and names.count(table) == 1 and attribute not in read and once:
            yield attribute, (f"{function.__module__}.{table}", found)


def _assigned(statement: ast.stmt, me: str) -> tuple[str, ast.expr | None]:
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target: ast.expr = statement.targets[0]
    elif isinstance(statement, ast.AnnAssign):
        target = statement.target
    else:
        return "", None
    ours = isinstance(target, ast.Attribute) and is_name(target.value, me)
    return (target.attr, statement.value) if ours and isinstance(target, ast.Attribute) else ("", None)


def _copied_name(value: ast.expr) -> str:
    """Return the name that an expression makes a shallow copy of, "" for any other expression."""
    match value:
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="copy"), args=[], keywords=[]):
            return name
        case ast.Call(func=ast.Name(id=builder), args=[ast.Name(id=name)], keywords=[]) if builder in _BUILDERS:
            return name
        case ast.Subscript(value=ast.Name(id=name), slice=ast.Slice(lower=None, upper=None, step=None)):
            return name
        case ast.Dict(keys=[None], values=[ast.Name(id=name)]) | ast.List(elts=[ast.Starred(value=ast.Name(id=name))]):
            return name
    return ""

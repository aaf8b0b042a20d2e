"""Layers of settings (files, variables, arguments) into one object of a settings class, strictly, with every origin."""

from __future__ import annotations

import enum
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs
from attrs import NOTHING, field, frozen

from noodle_upgrade_core.config.conversion import RefusedValueError, from_text, scalar, without_none
from noodle_upgrade_core.config.documents import Document
from noodle_upgrade_core.errors import UpgradeError
from noodle_upgrade_core.settings import MASK, Meta, Problem, constraint, meta_of, shown, suggestion

__all__ = ["Builder", "Fragment", "Layer", "Rank", "merged"]

_TABLES = (dict, Mapping)
_FACTORY: type[Any] = attrs.Factory  # type: ignore[assignment]  # a class, which the stubs call a function
_MOST_PROBLEMS = 200
_MOST_EXPLAINED = 20


class Rank(enum.IntEnum):
    """Which kind of layer wins over which; among files the later one does."""

    FILE = 0
    VARIABLE = 1
    ARGUMENT = 2


@frozen(kw_only=True)
class Layer:
    """One place that values come from; `origin` is how it is named to people."""

    origin: str
    rank: Rank
    data: Mapping[str, Any] = field(repr=False)
    document: Document | None = field(default=None, repr=False)

    def place(self, key: str) -> str:
        """Return the origin with the line of a key, where it can be told."""
        line = self.document.line_of(key) if self.document is not None else 0
        return f"{self.origin}, line {line}" if line else self.origin


@frozen
class Fragment:
    """What one layer says about one key; a variable says it in text."""

    value: Any
    layer: Layer

    @property
    def is_text(self) -> bool:
        """Whether the value has to be converted from the text of a variable."""
        return self.layer.rank is Rank.VARIABLE


class Builder:
    """Builds objects of settings classes from fragments, and collects all problems instead of stopping at the first.

    `origins` maps each dotted key to where its effective value comes from, `ranks` to the kind of layer; `variables`
    are the names that the fields visited listen to.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.problems: list[Problem] = []
        self.dropped = 0
        self.origins: dict[str, str] = {}
        self.ranks: dict[str, Rank] = {}
        self.variables: set[str] = set()

    def build(self, cls: type[Any], key: str, layers: Sequence[Layer]) -> Any:
        """Return an object of `cls` from what the layers say under `key`, or None after a problem.

        `layers` come weakest first. Raises `TypeError` when the class itself has a field of no known type.
        """
        fragments = [Fragment(layer.data[key], layer) for layer in layers if key in layer.data]
        made = self._record(cls, key, fragments, None)
        return None if made is NOTHING else made

    def complain(self, key: str, problem: str, hint: str = "", fragment: Fragment | None = None) -> None:
        """Add a problem; beyond 200 they are only counted."""
        if len(self.problems) >= _MOST_PROBLEMS:
            self.dropped += 1
            return
        origin = ""
        if fragment is not None:
            few = len(self.problems) < _MOST_EXPLAINED
            origin = fragment.layer.place(key) if few else fragment.layer.origin
        self.problems.append(Problem(key=_printable(key), problem=problem, hint=hint, origin=origin))

    def unknown(self, key: str, names: Sequence[str], fragment: Fragment, classes: Mapping[str, type[Any]]) -> None:
        """Add the problem of a key that nobody knows, with the name that was probably meant."""
        hint = ""
        if len(self.problems) < _MOST_EXPLAINED:
            last = key.rpartition(".")[2]
            below = (known for above, cls in classes.items() for known in _keys_below(cls, above))
            whole = [known for known in below if known.rpartition(".")[2] == last]
            hint = f"Did you mean {whole[0]!r}?" if len(whole) == 1 else suggestion(last, names)
            hint = hint or f"Known here: {', '.join(names)}."
        self.complain(key, "is not a setting", hint, fragment)

    def check_table(self, key: str, fragment: Fragment) -> None:
        """Add a problem when a whole section is not an object."""
        if not isinstance(fragment.value, Mapping):
            self.complain(key, f"must be a table of settings, not {_kind_word(fragment.value)}", "", fragment)

    # --- one method for each kind of type ------------------------------------------------------------------------

    def _node(self, kind: Any, key: str, fragments: list[Fragment], base: Any, meta: Meta) -> Any:
        kind, optional = without_none(kind)
        if optional:
            # A null takes back what weaker layers say.
            last = max((i for i, one in enumerate(fragments) if one.value is None), default=-1)
            if last >= 0:
                base, fragments = None, fragments[last + 1 :] or fragments[last : last + 1]
            if not fragments or fragments[-1].value is None:
                self._note(key, fragments[-1] if fragments else None)
                return None if base is NOTHING else base
        if attrs.has(kind):
            return self._record(kind, key, fragments, None if base is NOTHING else base)
        if typing.get_origin(kind) in _TABLES:
            return self._table(typing.get_args(kind)[1], key, fragments, base, meta)
        return self._leaf(kind, key, fragments, base, meta)

    def _record(self, cls: type[Any], key: str, fragments: list[Fragment], base: Any) -> Any:
        _resolve_types(cls)
        before = len(self.problems) + self.dropped
        tables = list(self._tables(key, fragments))
        attributes = [a for a in attrs.fields(cls) if a.init]
        names = [a.name for a in attributes]
        for table in tables:
            for name in table.value:
                if name not in names:
                    self.unknown(f"{key}.{name}", names, table, {key: cls})
        values: dict[str, Any] = {}
        for attribute in attributes:
            under = [Fragment(one.value[attribute.name], one.layer) for one in tables if attribute.name in one.value]
            default = _default_of(attribute) if base is None else getattr(base, attribute.name)
            under_key = f"{key}.{attribute.name}"
            meta = meta_of(attribute)
            under = self._with_variable(under, meta, cls, attribute)
            values[attribute.alias] = self._node(attribute.type, under_key, under, default, meta)
        if len(self.problems) + self.dropped > before:
            return NOTHING
        return self._made(cls, key, values, fragments)

    def _made(self, cls: type[Any], key: str, values: Mapping[str, Any], fragments: list[Fragment]) -> Any:
        try:
            return cls(**values)
        except (ValueError, UpgradeError) as error:
            said = error.message if isinstance(error, UpgradeError) else str(error)
            for attribute in attrs.fields(cls):
                if meta_of(attribute).secret and attribute.init and (secret := values[attribute.alias]):
                    said = said.replace(str(secret), MASK)
            hint = error.hint if isinstance(error, UpgradeError) else ""
            self.complain(key, f"cannot be used: {said.rstrip('.')}", hint, fragments[-1] if fragments else None)
            return NOTHING

    def _table(self, kind: Any, key: str, fragments: list[Fragment], base: Any, meta: Meta) -> Any:
        tables = list(self._tables(key, fragments))
        if base is NOTHING and not tables:
            self._missing(key, fragments)
            return NOTHING
        known: Mapping[str, Any] = {} if base is NOTHING or base is None else base
        names = dict.fromkeys([*known, *(str(name) for table in tables for name in table.value)])
        made = {}
        for name in names:
            under = [Fragment(one.value[name], one.layer) for one in tables if name in one.value]
            made[name] = self._node(kind, f"{key}.{name}", under, known.get(name, NOTHING), meta)
        if tables:
            self._note(key, tables[-1])
        if not made and not meta.blank:
            self.complain(key, "must not be empty", "", tables[-1] if tables else None)
        return types.MappingProxyType(made)

    def _leaf(self, kind: Any, key: str, fragments: list[Fragment], base: Any, meta: Meta) -> Any:
        value = base
        used: Fragment | None = None
        for fragment in fragments:
            # Each layer is checked, also one that is overridden: a broken file must not wait for its variable to go.
            try:
                found = self._converted(kind, key, fragment, meta)
            except RefusedValueError as refused:
                self.complain(key, refused.problem, refused.hint, fragment)
                continue
            value, used = found, fragment
        if value is NOTHING and not fragments:
            self._missing(key, fragments)
        self._note(key, used)
        return value

    def _converted(self, kind: Any, key: str, fragment: Fragment, meta: Meta) -> Any:
        value = fragment.value
        if fragment.is_text:
            value = from_text(kind, value, meta)
        made = self._typed(kind, value, key, fragment, meta)
        refused = constraint(made, meta)
        if refused:
            raise RefusedValueError(*refused)
        return made

    def _typed(self, kind: Any, value: Any, key: str, fragment: Fragment, meta: Meta) -> Any:
        kind, optional = without_none(kind)
        if optional and value is None:
            return None
        shape = typing.get_origin(kind)
        if shape in (tuple, frozenset):
            return self._items(kind, value, key, fragment, meta)
        if attrs.has(kind) or (shape is not None and shape is not typing.Literal):
            # Inside a list there is one layer only, and its origin is that of the list.
            inner = Builder({})
            made = inner._node(kind, key, [Fragment(value, fragment.layer)], NOTHING, meta)
            room = _MOST_PROBLEMS - len(self.problems)
            self.problems += inner.problems[:room]
            self.dropped += inner.dropped + len(inner.problems[room:])
            return made
        return scalar(kind, value, meta)

    def _items(self, kind: Any, value: Any, key: str, fragment: Fragment, meta: Meta) -> Any:
        if not isinstance(value, list | tuple | frozenset):
            hint = "" if meta.secret or not isinstance(value, str) else f"Write [{shown(value, meta)}]."
            raise RefusedValueError(f"must be a list, not {shown(value, meta)}", hint)
        item = typing.get_args(kind)[0]
        made = [self._typed(item, one, f"{key}[{index}]", fragment, meta) for index, one in enumerate(value)]
        return frozenset(made) if typing.get_origin(kind) is frozenset else tuple(made)

    # --- small parts ---------------------------------------------------------------------------------------------

    def _tables(self, key: str, fragments: list[Fragment]) -> Iterator[Fragment]:
        for fragment in fragments:
            if isinstance(fragment.value, Mapping):
                yield fragment
            else:
                self.check_table(key, fragment)

    def _with_variable(
        self, fragments: list[Fragment], meta: Meta, cls: type[Any], attribute: attrs.Attribute[Any]
    ) -> list[Fragment]:
        if not meta.variables:
            return fragments
        kind, _ = without_none(attribute.type)
        if attrs.has(kind) or typing.get_origin(kind) in _TABLES:
            raise TypeError(f"{cls.__name__}.{attribute.name}: a table cannot be given by a variable.")
        self.variables.update(meta.variables)
        name = next((name for name in meta.variables if name in self.environ), None)
        if name is None:
            return fragments
        layer = Layer(origin=name, rank=Rank.VARIABLE, data={})
        said = [*fragments, Fragment(self.environ[name], layer)]
        return sorted(said, key=lambda one: one.layer.rank)

    def _missing(self, key: str, fragments: list[Fragment]) -> None:
        if not fragments:
            self.complain(key, "is needed and is not given")

    def _note(self, key: str, fragment: Fragment | None) -> None:
        if fragment is not None:
            self.origins[key] = fragment.layer.origin
            self.ranks[key] = fragment.layer.rank


# --- types, defaults, words --------------------------------------------------------------------------------------


def _default_of(attribute: attrs.Attribute[Any]) -> Any:
    default: Any = attribute.default
    if isinstance(default, _FACTORY):
        if default.takes_self:
            raise TypeError(f"{attribute.name}: the default of a setting cannot depend on others.")
        return default.factory()
    return default


def _resolve_types(cls: type[Any]) -> None:
    try:
        attrs.resolve_types(cls)
    except NameError as error:
        raise TypeError(f"the types of {cls.__qualname__} cannot be told: {error}.") from error


def _keys_below(cls: type[Any], key: str) -> list[str]:
    _resolve_types(cls)
    found = []
    for attribute in attrs.fields(cls):
        kind = attribute.type
        found.append(f"{key}.{attribute.name}")
        if isinstance(kind, type) and attrs.has(kind):
            found += _keys_below(kind, f"{key}.{attribute.name}")
    return found


def _kind_word(value: Any) -> str:
    words = {str: "a string", bool: "true or false", int: "a number", float: "a number", list: "a list"}
    return words.get(type(value), "null" if value is None else type(value).__name__)


def _printable(key: str) -> str:
    text = key if key.isprintable() else ascii(key)[1:-1]
    return text if len(text) <= _MOST_PROBLEMS else text[: _MOST_PROBLEMS - 1] + "…"


def merged(weaker: Any, stronger: Any) -> Any:
    """Return two values as one: objects by key, anything else as the stronger says."""
    if isinstance(weaker, Mapping) and isinstance(stronger, Mapping):
        both = dict(weaker)
        for name, value in stronger.items():
            both[name] = merged(both[name], value) if name in both else value
        return both
    return stronger

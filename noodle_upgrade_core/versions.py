"""The order of versions, what may follow what, constraints, and the way from one version to another.

Versions and specifiers are PEP 440's. Two spellings of one version (`1.0`, `1.0.0`) are equal everywhere; what comes
back is spelled as it was given. Pre-releases count only where they are asked for exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from attrs import frozen
from packaging.specifiers import InvalidSpecifier, Specifier, SpecifierSet
from packaging.version import Version

from noodle_upgrade_core.errors import ConstraintUnmetError, VersionInvalidError, VersionUnknownError

__all__ = [
    "Compatibility",
    "check_compatibility",
    "compare",
    "get_upgrade_path",
    "is_specifier",
    "is_version",
    "latest",
    "listing",
    "ordered",
    "parse",
    "validate_constraints",
]

Matrix = Mapping[str, Sequence[str]]

_LONGEST = 255  # far beyond any real version; keeps a hostile one from costing time or making a long message
_OPERATORS = ("<", ">", "=", "!", "~")
_SHOWN = 8


@frozen(kw_only=True)
class Compatibility:
    """Whether a version may follow another; `breaking_changes` say in words what its number announces."""

    compatible: bool
    reason: str
    breaking_changes: tuple[str, ...] = ()


def parse(text: str) -> Version:
    """Return the version; raises `VersionInvalidError` for anything that PEP 440 does not allow."""
    if isinstance(text, str) and len(text) <= _LONGEST:
        try:
            return Version(text)
        except ValueError:  # InvalidVersion, and what int() says of absurdly long numbers
            pass
    shown = text if isinstance(text, str) and len(text) <= _LONGEST else f"{str(text)[:40]}…"
    raise VersionInvalidError(
        f"{shown!r} is not a version.",
        hint="Write it as PEP 440 says: 3.0.0, 3.1.0rc1, 3.0.0.post1.",
        details={"version": shown},
    )


def is_version(text: str) -> bool:
    """Return whether `parse` would take it."""
    try:
        parse(text)
    except VersionInvalidError:
        return False
    return True


def is_specifier(text: str) -> bool:
    """Return whether it is one or several specifiers such as `>=2,<3`; the empty string is none."""
    if not text.strip().startswith(_OPERATORS):
        return False
    try:
        _specifiers(text)
    except VersionInvalidError:
        return False
    return True


def compare(a: str, b: str) -> int:
    """Return -1, 0 or 1: `a` is older than, the same as or newer than `b`."""
    left, right = parse(a), parse(b)
    return (left > right) - (left < right)


def ordered(available: Iterable[str]) -> tuple[str, ...]:
    """Return the versions oldest first, each once; what is no version is left out."""
    found: dict[Version, str] = {}
    for text in available:
        if is_version(text):
            found.setdefault(parse(text), text)
    return tuple(found[version] for version in sorted(found))


def latest(available: Iterable[str], specifiers: str | Iterable[str] = ()) -> str | None:
    """Return the newest version that meets all specifiers, or None; what is no version is passed over.

    A pre-release is taken only where a specifier names it (`==3.0.0rc1`), also when there is nothing else.
    """
    wanted = _specifiers(specifiers)
    named = _named_exactly(wanted)
    for text in reversed(ordered(available)):
        version = parse(text)
        if version.is_prerelease and version not in named:
            continue
        if wanted.contains(version, prereleases=True):
            return text
    return None


def validate_constraints(version: str, specifiers: str | Iterable[str]) -> None:
    """Raise `ConstraintUnmetError` unless the version meets every specifier; `details["unmet"]` names those it fails.

    A pre-release is judged by its place in the order: whoever asks about it has named it.
    """
    found = parse(version)
    unmet = [str(s) for s in _specifiers(specifiers) if not s.contains(found, prereleases=True)]
    if unmet:
        raise ConstraintUnmetError(
            f"version {version} does not meet {', '.join(sorted(unmet))}.",
            hint="Ask for another version, or drop the constraint.",
            details={"version": version, "unmet": sorted(unmet)},
        )


def check_compatibility(from_version: str, to_version: str, *, matrix: Matrix | None = None) -> Compatibility:
    """Say whether `to_version` may follow `from_version`.

    A matrix that names `from_version` decides, and it decides for downgrades too. Its entries are versions, or
    specifiers such as `>=2,<3`. Everything else is compatible: a new major version (a new minor one under 0.x, a new
    epoch) and a downgrade are reported as breaking changes, and it is for policies to act on them.
    """
    old, new = parse(from_version), parse(to_version)
    breaking = tuple(_breaking(old, new))
    rules = _Hops(matrix or {})
    if old == new:
        return Compatibility(compatible=True, reason=f"{to_version} is the running version")
    if rules.names(old):
        allowed = rules.allow(old, new)
        reason = f"the compatibility matrix {'lets' if allowed else 'does not let'} {to_version} follow {from_version}"
        return Compatibility(compatible=allowed, reason=reason, breaking_changes=breaking)
    if new < old:
        reason = f"{to_version} is older than {from_version}: a downgrade"
    elif breaking:
        reason = f"{to_version} is newer than {from_version}, with breaking changes"
    else:
        reason = f"{to_version} is newer than {from_version}"
    return Compatibility(compatible=True, reason=reason, breaking_changes=breaking)


def get_upgrade_path(
    from_version: str,
    to_version: str,
    available: Iterable[str],
    *,
    must_pass: Sequence[str] = (),
    matrix: Matrix | None = None,
) -> tuple[str, ...]:
    """Return the shortest chain of versions from the running one to the target, both included.

    Every hop goes upwards and is allowed by the matrix. Versions of `must_pass` that lie between the two are all
    passed through, oldest first. A downgrade is one direct hop. Pre-releases are never a stop on the way unless
    `must_pass` names them. Of two chains of one length the one whose stops are newer is taken.

    Raises `VersionUnknownError` when the target, or a version that must be passed, is not available, and
    `ConstraintUnmetError` when a hop is closed: `details` has `closed` (from, to) and `open` (what could be reached).
    """
    spelled = {parse(text): text for text in ordered(available)}
    old, new = parse(from_version), parse(to_version)
    _must_have(new, to_version, spelled)
    if old == new:
        return (from_version,)
    spelled[old], spelled[new] = from_version, to_version
    rules = _Hops(matrix or {})
    if new < old:
        if not rules.allow(old, new):
            raise _closed(old, new, [v for v in spelled if v != old and rules.allow(old, v)], spelled)
        return (from_version, to_version)
    stops = sorted({version for text in must_pass if old < (version := parse(text)) < new})
    for stop in stops:
        _must_have(stop, str(stop), spelled)
    path = [old]
    for goal in (*stops, new):
        path += _shortest(path[-1], goal, spelled, rules)
    return tuple(spelled[version] for version in path)


class _Hops:
    """The compatibility matrix, read once for many questions."""

    def __init__(self, matrix: Matrix) -> None:
        self._followers = {parse(text): _Followers(entries) for text, entries in matrix.items()}

    def names(self, old: Version) -> bool:
        return old in self._followers

    def allow(self, old: Version, new: Version) -> bool:
        followers = self._followers.get(old)
        return followers is None or followers.include(new)


class _Followers:
    def __init__(self, entries: str | Iterable[str]) -> None:
        texts = (entries,) if isinstance(entries, str) else tuple(entries)
        self._exact = {parse(text) for text in texts if not text.strip().startswith(_OPERATORS)}
        self._ranges = [_specifiers(text) for text in texts if text.strip().startswith(_OPERATORS)]

    def include(self, version: Version) -> bool:
        return version in self._exact or any(r.contains(version, prereleases=True) for r in self._ranges)


def _shortest(start: Version, goal: Version, spelled: Mapping[Version, str], rules: _Hops) -> list[Version]:
    """Breadth first, newest first: the first way found is the shortest, with the newest stops."""
    stops = [v for v in sorted(spelled, reverse=True) if start < v < goal and not v.is_prerelease]
    came_from: dict[Version, Version] = {}
    edge = [start]
    while edge:
        following: list[Version] = []
        for here in edge:
            if rules.allow(here, goal):
                way = [goal, here]
                while way[-1] != start:
                    way.append(came_from[way[-1]])
                return way[-2::-1]
            for stop in stops:
                if stop > here and stop not in came_from and rules.allow(here, stop):
                    came_from[stop] = here
                    following.append(stop)
        edge = following
    reached = [v for v in spelled if v in came_from]
    raise _closed(start, goal, reached, spelled)


def _closed(
    old: Version, new: Version, reachable: Iterable[Version], spelled: Mapping[Version, str]
) -> ConstraintUnmetError:
    name = {v: spelled.get(v, str(v)) for v in (old, new)}
    names = [spelled[v] for v in sorted(reachable)]
    direction = "back to" if new < old else "to"
    return ConstraintUnmetError(
        f"there is no way from {name[old]} {direction} {name[new]}: the compatibility matrix does not allow it.",
        hint=f"Open from {name[old]}: {listing(names)}." if names else f"Nothing is open from {name[old]}.",
        details={"closed": [name[old], name[new]], "open": names},
    )


def _must_have(version: Version, text: str, spelled: Mapping[Version, str]) -> None:
    if version in spelled:
        return
    names = [spelled[v] for v in sorted(spelled)]
    raise VersionUnknownError(
        f"no source has version {text}.",
        hint=f"Available: {listing(names)}." if names else "No version is available.",
        details={"version": text, "available": names},
    )


def listing(available: Iterable[str]) -> str:
    """Return versions in words: the newest first, and how many older ones there are."""
    newest_first = ordered(available)[::-1]
    older = len(newest_first) - _SHOWN
    more = f" and {older} older {'one' if older == 1 else 'ones'}" if older > 0 else ""
    return f"{', '.join(newest_first[:_SHOWN])}{more}"


def _breaking(old: Version, new: Version) -> Iterable[str]:
    if new < old:
        yield f"a downgrade: what came after {new} is gone, and state may have to be migrated back"
    if old.epoch != new.epoch:
        yield f"the epoch changes from {old.epoch} to {new.epoch}: the numbering began anew"
    elif old.major != new.major:
        yield f"the major version changes from {old.major} to {new.major}"
    elif old.major == 0 and old.minor != new.minor:
        yield f"the minor version changes from 0.{old.minor} to 0.{new.minor}, and under 0.x that may break callers"
    if new.is_prerelease and old != new:
        yield f"{new} is a pre-release"


def _specifiers(texts: str | Iterable[str]) -> SpecifierSet:
    found = SpecifierSet()
    for text in (texts,) if isinstance(texts, str) else texts:
        try:
            if len(text) > _LONGEST:
                raise InvalidSpecifier
            found &= SpecifierSet(text)
        except ValueError as error:
            raise VersionInvalidError(
                f"{text[:40]!r} is not a version specifier.",
                hint="Write it as PEP 440 says: >=2,<3 or ==3.0.* or ~=2.1.",
                details={"specifier": text[:_LONGEST]},
            ) from error
    return found


def _named_exactly(specifiers: Iterable[Specifier]) -> set[Version]:
    exact = [s.version for s in specifiers if s.operator in {"==", "==="} and not s.version.endswith(".*")]
    return {parse(text) for text in exact if is_version(text)}

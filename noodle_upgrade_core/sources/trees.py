"""What a set of files provides to Python: import names, extension modules, and what a module says of itself.

Paths are relative, with `/`, as in an archive or a manifest. No module is ever imported or run here.
"""

from __future__ import annotations

import ast
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from attrs import frozen

from noodle_upgrade_core.errors import ArtifactDamagedError, ArtifactTooLargeError, ArtifactUnavailableError
from noodle_upgrade_core.store.archives import Limits

__all__ = [
    "Contents",
    "ModuleFacts",
    "check_limits",
    "is_made_by_tools",
    "is_regular",
    "module_facts",
    "total_size",
    "walk",
]

_EXTENSIONS = (".so", ".pyd", ".dll", ".dylib")
_LONGEST_SOURCE = 4 << 20
_NEVER = {"__pycache__", ".git", ".hg", ".svn", ".mypy_cache", ".ruff_cache", ".pytest_cache"}
_COMPILED = (".pyc", ".pyo")


@frozen(kw_only=True)
class ModuleFacts:
    """What a module's source states as plain constants; empty where it states nothing."""

    version: str = ""
    dependencies: tuple[str, ...] = ()


@frozen(kw_only=True)
class Contents:
    """What a set of files provides; every part sorted.

    `top_levels` are the first parts of the names that can be imported. Those of `namespaces` have no `__init__` here:
    other distributions may put modules into them too, and `import_names` say which are in these files (with dots,
    `google.cloud.storage`). `extension_modules` are the paths of compiled code, shared libraries included.
    `startup_files` are `.pth` files, which an interpreter reads when it starts: a live upgrade does not.
    """

    top_levels: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    import_names: tuple[str, ...] = ()
    extension_modules: tuple[str, ...] = ()
    startup_files: tuple[str, ...] = ()

    @classmethod
    def of(cls, paths: Iterable[str]) -> Contents:
        """Look at relative paths with `/`."""
        files = sorted(paths)
        names = _import_names(files)
        return cls(
            top_levels=tuple(sorted({name.partition(".")[0] for name in names})),
            namespaces=tuple(sorted({name.partition(".")[0] for name in names if "." in name})),
            import_names=names,
            extension_modules=tuple(path for path in files if _is_extension(PurePosixPath(path).name)),
            startup_files=tuple(path for path in files if path.endswith(".pth") and "/" not in path),
        )

    def metadata(self) -> dict[str, Any]:
        """Return what an `ArtifactRef` has no field for, as JSON values."""
        found: dict[str, Any] = {}
        if self.namespaces:
            found |= {"namespaces": list(self.namespaces), "import_names": list(self.import_names)}
        if self.startup_files:
            found["startup_files"] = list(self.startup_files)
        return found


def module_facts(source: Path) -> ModuleFacts:
    """Return what a source file states of itself; nothing when it cannot be read as Python."""
    try:
        text = source.read_bytes()
        body = ast.parse(text).body if len(text) <= _LONGEST_SOURCE else []
    except (SyntaxError, ValueError, RecursionError, MemoryError, OSError):
        body = []  # whoever stages it will meet the same fault, with more to say about it
    stated: dict[str, object] = {}
    for name, node in _assignments(body):
        try:
            stated[name] = ast.literal_eval(node)
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            stated.pop(name, None)  # computed when it runs: not a statement
    version, needs = stated.get("__version__"), stated.get("__dependencies__")
    return ModuleFacts(
        version=version if isinstance(version, str) else "",
        dependencies=tuple(str(need) for need in needs) if isinstance(needs, list | tuple) else (),
    )


def walk(folder: Path, *, limits: Limits, links: bool = False) -> dict[str, Path]:
    """Return the files of a folder by relative path, without bytecode and the folders of tools.

    Raises `ArtifactDamagedError` for special files and for links, whose target could change under the stored version;
    with `links`, links to files are taken for what they point to (some installers make nothing else).
    """
    found: dict[str, Path] = {}
    size = 0
    pending = [folder]
    while pending:
        for entry in _scan(pending.pop()):
            path = Path(entry.path)
            relative = path.relative_to(folder).as_posix()
            if is_made_by_tools(relative):
                continue
            if entry.is_dir(follow_symlinks=False):
                pending.append(path)
            elif entry.is_file(follow_symlinks=links):
                size += entry.stat(follow_symlinks=links).st_size
                found[relative] = path.resolve() if links else path
                check_limits(str(folder), size, len(found), limits=limits)
            else:
                raise ArtifactDamagedError(
                    f"{relative} in {folder} is a link or a special file.",
                    hint="Put the file itself there.",
                    details={"path": str(path)},
                )
    return dict(sorted(found.items()))


def is_made_by_tools(path: str) -> bool:
    """Return whether a file is bytecode, or lies in a folder that only a tool cares about."""
    return path.endswith(_COMPILED) or not _NEVER.isdisjoint(path.split("/"))


def check_limits(what: str, size: int, files: int, *, limits: Limits) -> None:
    """Raise `ArtifactTooLargeError` when there are more bytes or files than allowed."""
    if size > limits.max_unpacked_bytes:
        raise ArtifactTooLargeError(
            f"{what} holds more than {limits.max_unpacked_bytes:,} bytes.",
            hint="Raise `runtime_upgrade.limits.max_unpacked_bytes` if that is meant.",
            details={"limit": limits.max_unpacked_bytes, "bytes": size},
        )
    if files > limits.max_files:
        raise ArtifactTooLargeError(
            f"{what} holds more than {limits.max_files:,} files.",
            hint="Raise `runtime_upgrade.limits.max_files` if that is meant.",
            details={"limit": limits.max_files, "files": files},
        )


def total_size(files: Mapping[str, Path]) -> int:
    """Return the bytes of all files together."""
    return sum(path.stat().st_size for path in files.values())


def is_regular(path: Path) -> bool:
    """Return whether it is a file of its own: no folder, device or pipe (a link to a file counts)."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):  # ValueError: a null character in the name
        return False


def _scan(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise ArtifactUnavailableError(
            f"{folder} cannot be read: {error.strerror or error}.", details={"path": str(folder)}
        ) from error


def _import_names(paths: Iterable[str]) -> tuple[str, ...]:
    """Return packages and modules, not what is in them; a folder without `__init__` is looked into."""
    modules = [parts for path in paths if (parts := _module_parts(path)) is not None]
    packages = {parts[:-1] for parts in modules if parts[-1] == "__init__" and len(parts) > 1}
    found: set[str] = set()
    for parts in modules:
        if len(parts) == 1 and parts[0] in {"__init__", "__main__"}:
            continue
        owner = next((parts[:n] for n in range(1, len(parts)) if parts[:n] in packages), parts)
        if all(part.isidentifier() for part in owner):
            found.add(".".join(owner))
    return tuple(sorted(found))


def _module_parts(path: str) -> tuple[str, ...] | None:
    *folders, name = path.split("/")
    if name.endswith(".py"):
        return (*folders, name[:-3])
    if name.endswith((".so", ".pyd")):
        return (*folders, name.split(".", 1)[0])
    return None


def _is_extension(name: str) -> bool:
    return name.endswith(_EXTENSIONS) or ".so." in name


def _assignments(body: Iterable[ast.stmt]) -> Iterator[tuple[str, ast.expr]]:
    for node in body:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    yield target.id, node.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            yield node.target.id, node.value

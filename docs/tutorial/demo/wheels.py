"""Broken versions of a published library, made from its wheel."""

from __future__ import annotations

import base64
import hashlib
import pathlib
import subprocess
import sys
import zipfile

IMPORT_FAILS = "raise RuntimeError('this version was published by mistake')\n"
RENDER_FAILS = """

def _broken(self, tokens, options, env):
    raise RuntimeError("this version cannot render")


RendererHTML.render = _broken
"""


def download(requirement: str, folder: pathlib.Path) -> pathlib.Path:
    """Fetch a published wheel with pip and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), requirement],
        check=True,
    )
    name = requirement.partition("==")[0].replace("-", "_")
    return next(folder.glob(f"{name}-*.whl"))


def altered(wheel: pathlib.Path, version: str, extra: dict[str, str]) -> pathlib.Path:
    """Return a copy of a wheel with another version, and with text added to the ends of some of its files."""
    name, old, *rest = wheel.name.split("-")
    target = wheel.with_name("-".join([name, version, *rest]))
    records = []
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as copy:
        for item in source.namelist():
            if item.endswith("/RECORD"):
                continue
            data = source.read(item)
            path = item.replace(f"{name}-{old}.dist-info", f"{name}-{version}.dist-info")
            if path.endswith("/METADATA"):
                data = data.replace(f"\nVersion: {old}".encode(), f"\nVersion: {version}".encode(), 1)
            if path == f"{name.removesuffix('_py')}/__init__.py":
                data = data.replace(f'"{old}"'.encode(), f'"{version}"'.encode())
            data += extra.get(path, "").encode()
            copy.writestr(path, data)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            records.append(f"{path},sha256={digest},{len(data)}")
        record = f"{name}-{version}.dist-info/RECORD"
        copy.writestr(record, "\n".join([*records, f"{record},,", ""]))
    return target

"""Real wheels for tests, made here file by file, and the ways in which one can be wrong."""

import base64
import csv
import hashlib
import io
import zipfile
from pathlib import Path

__all__ = ["make_wheel", "metadata", "record"]

WHEEL = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: {tag}\n"


def metadata(name, version, *, requires=(), requires_python=""):
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Dist: {need}" for need in requires]
    lines += [f"Requires-Python: {requires_python}"] if requires_python else []
    return "\n".join(lines) + "\n"


def record(files, own_name):
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for name, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        writer.writerow([name, f"sha256={digest}", len(data)])
    writer.writerow([own_name, "", ""])
    return text.getvalue().encode()


def make_wheel(
    folder,
    name,
    version,
    files,
    *,
    tag="py3-none-any",
    build="",
    requires=(),
    requires_python="",
    dist_info="",
    metadata_text=None,
    wheel_text=None,
    file_name="",
    change=None,
    recorded=None,
):
    """Write a wheel and return its path.

    `files` maps paths to text or bytes. `change(files)` may alter the files after the record was made of them (or of
    `recorded`, when that is given), by which a wheel becomes damaged.
    """
    stem = name.replace("-", "_")
    info = dist_info or f"{stem}-{version}.dist-info"
    contents = {path: data.encode() if isinstance(data, str) else data for path, data in files.items()}
    if metadata_text is None:
        metadata_text = metadata(name, version, requires=requires, requires_python=requires_python)
    contents[f"{info}/METADATA"] = metadata_text.encode()
    contents[f"{info}/WHEEL"] = (WHEEL.format(tag=tag) if wheel_text is None else wheel_text).encode()
    contents[f"{info}/RECORD"] = record(recorded or contents, f"{info}/RECORD")
    if change is not None:
        change(contents)
    path = Path(folder) / (file_name or f"{stem}-{version}{f'-{build}' if build else ''}-{tag}.whl")
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for inner, data in contents.items():
            archive.writestr(zipfile.ZipInfo(inner, (2024, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED)
    return path

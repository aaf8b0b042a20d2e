"""Two small libraries in several versions, good and bad, as real wheels."""

import sys
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
from wheels import make_wheel

__all__ = ["farewell", "greeting", "install", "shelf"]


_INIT = """
from acme_greeting.words import Badge, Greeter, greet

__version__ = "{version}"
__all__ = ["Badge", "Greeter", "greet"]
{extra}
"""
_WORDS = """
from acme_greeting import marks


class Greeter:
    def __init__(self, name):
        self.name = name

    def greet(self):
        {first}
        return f"{{hello()}} {{self.name}}{{marks.mark()}}"


class Badge:
    __slots__ = ({slots},)

    def __init__(self, name):
        self.name = name


def hello():
    return "Hello/g{version}"


def greet(name):
    return Greeter(name).greet()
"""
_MARKS = """
def mark():
    return "!/g{version}"
"""
_POLITE = """

def politely():
    return "thank you/g{version}"
"""
_FAREWELL = """
from acme_greeting import words

__version__ = "{version}"


def farewell(name):
    return f"{call}, {{name}}/f{version}"
"""
_WAIT = """
import os
import time

while os.path.exists(os.environ["ACME_GATE"]):
    time.sleep(0.01)
"""


def greeting(folder, version, *, extra="", first="", slots='"name"', requires=(), file_version=None, **more):
    """Make a wheel of acme-greeting; `extra` runs at import, `first` at the beginning of each call."""
    stated = file_version or version
    words = _WORDS.format(version=stated, first=first, slots=slots)
    if stated >= "2":
        words += _POLITE.format(version=stated)
    files = {
        "acme_greeting/__init__.py": _INIT.format(version=stated, extra=extra),
        "acme_greeting/words.py": words,
        "acme_greeting/marks.py": _MARKS.format(version=stated),
        **more.pop("files", {}),
    }
    return make_wheel(folder, "acme-greeting", version, files, requires=requires, **more)


def farewell(folder, version, *, requires=None):
    """Make a wheel of acme-farewell; version 2 uses what only version 2 of acme-greeting has."""
    new = version >= "2"
    call = "{words.politely()}" if new else "{words.hello()}"
    needs = ["acme-greeting>=2" if new else "acme-greeting"] if requires is None else requires
    text = _FAREWELL.format(version=version, call=call)
    return make_wheel(folder, "acme-farewell", version, {"acme_farewell/__init__.py": text}, requires=needs)


def shelf(folder):
    """Make every version of both libraries; returns the folder.

    Good: 1.0, 2.0, 3.0. 2.1 raises at import, 2.2 hangs at import while the gate is there, 2.3 raises when it is called,
    2.4 gives a class with slots another one, 2.5 needs what is not installed.
    """
    for version in ("1.0", "2.0", "3.0"):
        greeting(folder, version)
    for version in ("1.0", "1.1", "2.0"):
        farewell(folder, version)
    greeting(folder, "2.1", extra="raise RuntimeError('published by mistake')")
    greeting(folder, "2.2", extra=_WAIT)
    greeting(folder, "2.3", first="raise RuntimeError('this version cannot greet')")
    greeting(folder, "2.4", slots='"name", "colour"')
    greeting(folder, "2.5", requires=["acme-nowhere>=1"])
    return folder


def install(folder, *wheels):
    """Unpack wheels where `PYTHONPATH` finds them, as an installer would; returns the folder."""
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
    return folder

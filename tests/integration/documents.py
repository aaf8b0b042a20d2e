"""The Markdown of the project: its blocks, its links, and the places that links can lead to."""

import re
from pathlib import Path
from typing import NamedTuple

__all__ = ["DOCUMENTS", "ROOT", "Block", "Link", "anchors", "blocks", "links", "name_of"]

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "plugins/*/*.md")
    for path in ROOT.glob(pattern)
    if not {"build", "node_modules"} & set(path.parts)
)

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# ([\w./-]+\.(?:py|toml|noodle))\n")
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)


def name_of(path):
    """Return how a document is called: its path in the repository."""
    return path.relative_to(ROOT).as_posix()


class Block(NamedTuple):
    """A block of code: `line` is where its text begins."""

    document: str
    line: int
    language: str
    text: str

    @property
    def file(self):
        """The file that it is to be saved as: its first line says so."""
        found = _FILE.match(self.text)
        return found[1] if found else ""

    @property
    def commands(self):
        """The commands of a console, each with the lines that it is said to print."""
        found = []
        for line in self.text.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
        return found

    def __str__(self):
        return f"{self.document}:{self.line}"


class Link(NamedTuple):
    document: str
    line: int
    target: str


def blocks(path, *languages):
    """Return the blocks of a document in these languages, in order."""
    text = path.read_text()
    return [
        Block(name_of(path), text.count("\n", 0, found.start()) + 2, found[1], found[2])
        for found in _FENCE.finditer(text)
        if not languages or found[1] in languages
    ]


def _without_code(text):
    # As many lines as before, so that numbers stay right.
    return _FENCE.sub(lambda found: "\n" * found[0].count("\n"), text)


def links(path):
    """Return the links of a document, also those of pictures."""
    text = _without_code(path.read_text())
    return [Link(name_of(path), text.count("\n", 0, found.start()) + 1, found[1]) for found in _LINK.finditer(text)]


def anchors(path):
    """Return what can stand behind a `#`: the headings, as forges make anchors of them."""
    found = set()
    for heading in _HEADING.findall(_without_code(path.read_text())):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower().replace(" ", "-")
        slug = re.sub(r"[^\w-]", "", plain)
        number = sum(1 for one in found if re.fullmatch(rf"{re.escape(slug)}(-\d+)?", one))
        found.add(f"{slug}-{number}" if number else slug)
    return found

"""How Sphinx builds these documents: `nox -s docs`.

The sources are the whole repository, so that a link from one document to another is the same here and on a forge. What
belongs to which part of the contents is read from the pages that list others: there is nothing but Markdown in them.
"""

from __future__ import annotations

import pathlib
import posixpath
import re
import tomllib

from pygments.lexer import RegexLexer, words
from pygments.token import Comment, Keyword, Name, Number, Operator, Punctuation, String, Whitespace

ROOT = pathlib.Path(__file__).parents[1]

project = "Noodle Upgrade"
author = "The Noodle Upgrade developers"
project_copyright = f"{author}, MIT licence"
release = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

extensions = ["myst_parser"]
root_doc = "docs/index"
include_patterns = ["README.md", "CHANGELOG.md", "docs/**", "plugins/*/*.md"]
exclude_patterns = [".*", "build", "dist", "**/.*", "**/node_modules", "plugins/*/src", "plugins/*/tests"]
nitpicky = True
myst_heading_anchors = 4

html_theme = "furo"
html_title = f"{project} {release}"
html_extra_path = ["extra"]
html_copy_source = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#2f855a", "color-brand-content": "#2b6cb0"},
    "dark_css_variables": {"color-brand-primary": "#68d391", "color-brand-content": "#90cdf4"},
}

_KEYWORDS = tuple(
    """
    let def return if else for in while break continue import from as class
    struct interface implements extends type enum match case default async await yield true false
    none
    """.split()
)
_LISTED = re.compile(r"^- \[([^\]]+)\]\(([^)#\s]+\.md)\)", re.MULTILINE)
_SECTION = re.compile(r"^## (.+)\n", re.MULTILINE)


def _contents(folder, caption, text, *, anywhere):
    """Return the contents that a list of links makes; links to pages of other folders are only links."""
    listed = [(title, posixpath.normpath(f"{folder}/{target}")) for title, target in _LISTED.findall(text)]
    own = [(title, target) for title, target in listed if anywhere or target.startswith(f"{folder}/")]
    if not own:
        return []
    entries = [f"{title} </{target.removesuffix('.md')}>" for title, target in own]
    return ["", "```{toctree}", ":hidden:", *([f":caption: {caption}"] if caption else []), "", *entries, "```", ""]


def _add_contents(_, name, text):
    """Make contents of what an index page lists: a list of links is a list of links everywhere else."""
    folder, _, page = name.rpartition("/")
    if page == "index":
        # The text before the first heading, then headings and what stands below them by turns.
        first, *rest = _SECTION.split(text[0])
        for caption, below in (("", first), *zip(rest[::2], rest[1::2], strict=True)):
            text[0] += "\n".join(_contents(folder, caption, below, anywhere=name == root_doc))


class NoodleLexer(RegexLexer):
    """Colours for sources of Noodle."""

    name = "Noodle"
    aliases = ("noodle",)
    tokens = {  # noqa: RUF012 - as Pygments has it
        "root": [
            (r"#.*", Comment.Single),
            (r'"(?:[^"\\\n]|\\.)*"', String),
            (r"\d[\w.]*", Number),
            (words(_KEYWORDS, prefix=r"\b", suffix=r"\b"), Keyword),
            (r"\w+", Name),
            (r"[-+*/%=<>!]+", Operator),
            (r"[{}()\[\];,.:]", Punctuation),
            (r"\s+", Whitespace),
        ]
    }


def setup(app):
    """Let Sphinx read index pages so, and colour Noodle."""
    app.connect("source-read", _add_contents)
    app.add_lexer("noodle", NoodleLexer)

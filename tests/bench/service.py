"""The service of the restart rows, plain WSGI: it renders Markdown, and counts its answers in memory."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterable
from typing import Any

import markdown_it

__all__ = ["app"]

_answered = itertools.count(1)


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Render a text with the library that runs now."""
    del environ
    html = markdown_it.MarkdownIt().render("# Title\n\nsome *text* `x`\n")
    answer = {
        "version": markdown_it.__version__,
        "html": html,
        "pid": os.getpid(),
        "answered": next(_answered),
    }
    body = json.dumps(answer).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]

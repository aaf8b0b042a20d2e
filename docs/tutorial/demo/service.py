"""A web service that renders Markdown: it knows nothing of upgrades."""

import itertools
import os

import markdown_it
from markdown_it import MarkdownIt
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

answered = itertools.count(1)  # state in memory: it would start again with a new process


def answer(text: str) -> dict[str, object]:
    """Render, and say which version of the library was there before and after."""
    before = markdown_it.__version__
    renderer = MarkdownIt("commonmark", {"typographer": True}).enable(["table", "replacements", "smartquotes"])
    html = renderer.render(text)
    return {
        "html": html,
        "before": before,
        "after": markdown_it.__version__,
        "answered": next(answered),
        "pid": os.getpid(),
    }


async def render(request: Request) -> JSONResponse:
    """POST Markdown, get HTML."""
    text = (await request.body()).decode()
    return JSONResponse(await run_in_threadpool(answer, text))


app = Starlette(routes=[Route("/", render, methods=["POST"])])

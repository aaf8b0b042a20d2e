"""A web service that calls a library through a handle: two versions can serve side by side."""

import itertools
import os

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from noodle_upgrade_runtime import handle

answered = itertools.count(1)
greeter = handle("acme-greeting", "acme_greeting:Greeter", arguments={"name": "moon"})


def answer() -> dict[str, object]:
    """One call: all of it belongs to one version."""
    return {"parts": [greeter.greet()], "answered": next(answered), "pid": os.getpid()}


async def serve(_: Request) -> JSONResponse:
    """Answer."""
    return JSONResponse(await run_in_threadpool(answer))


app = Starlette(routes=[Route("/", serve)])

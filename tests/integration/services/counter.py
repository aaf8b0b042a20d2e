"""A web service that counts, with a component of its own behind a handle."""

import os

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from noodle_upgrade_runtime import handle

tally = handle("tally")


async def serve(_: Request) -> JSONResponse:
    """Count, and say which version counted."""
    return JSONResponse({"parts": [tally.hit()], "pid": os.getpid()})


app = Starlette(routes=[Route("/", serve)])

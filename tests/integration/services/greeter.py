"""A web service that greets and takes leave with two published libraries; it knows nothing of upgrades."""

import itertools
import os

import acme_farewell
import acme_greeting
from acme_farewell import farewell
from acme_greeting import Badge, Greeter, greet
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

answered = itertools.count(1)
moon = Greeter("moon")  # lives through every upgrade
badge = Badge("guest")


def answer(name: str) -> dict[str, object]:
    """Use everything that the libraries have; every part names the version that made it."""
    return {
        "parts": [
            f"/g{acme_greeting.__version__} /f{acme_farewell.__version__}",
            greet(name),
            moon.greet(),
            farewell(name),
            greet(name),
        ],
        "answered": next(answered),
        "pid": os.getpid(),
    }


async def serve(request: Request) -> JSONResponse:
    """Answer `?name=`."""
    return JSONResponse(await run_in_threadpool(answer, request.query_params.get("name", "sun")))


app = Starlette(routes=[Route("/", serve)])

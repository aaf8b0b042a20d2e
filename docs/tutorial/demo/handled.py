"""A web service that renders Markdown through a handle: plain ASGI, so that the call is most of what it does."""

import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from noodle_upgrade_runtime import handle

Message = MutableMapping[str, Any]

renderer = handle(
    "markdown-it-py",
    "markdown_it:MarkdownIt",
    arguments={"config": "js-default", "options_update": {"typographer": True}},
)
pid = str(os.getpid()).encode()


async def app(scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Any]) -> None:
    """POST Markdown, get HTML, and the id of the process that made it."""
    if scope["type"] != "http":
        return
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            break
    html = renderer.render(b"".join(parts).decode()).encode()
    headers = [(b"content-type", b"text/html; charset=utf-8"), (b"content-length", b"%d" % len(html)), (b"x-pid", pid)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": html})

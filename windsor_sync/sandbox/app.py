"""The sandbox as one aiohttp application: wires, API and pages behind the guard."""

from collections.abc import Collection

from aiohttp import web

from windsor_sync.sandbox.api import Api
from windsor_sync.sandbox.guard import guard
from windsor_sync.sandbox.messages import MAX_BATCH_BYTES
from windsor_sync.sandbox.pages import Pages
from windsor_sync.sandbox.receiver import Receiver


def build(receiver: Receiver, names: Collection[str] = ()) -> web.Application:
    """Return the application; `names` are hosts it answers to besides those of loopback."""
    app = web.Application(middlewares=[guard(names)], client_max_size=MAX_BATCH_BYTES)
    app.add_routes(Api(receiver).routes())
    app.add_routes(Pages(receiver).routes())
    app.add_routes(
        [
            web.post("/hook/{token}", receiver.hook),
            # Segment posts to whatever path a partner registered, so any that is not taken will do.
            web.post("/{path:(?!(api|hook|users|feed)(/|$)).*}", receiver.webhook),
        ]
    )
    return app

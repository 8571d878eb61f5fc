"""Asks Windsor whether it takes the key, without leaving a trace there.

Segment's webhook rules leave exactly one way: 401 and 403 are about the key, 400 is about the message, and neither is
applied. So the probe is a message that is none: an empty object, which names no call and no user (for Windsor's hook
an empty batch). A good key makes that a 400, a bad one a 401 or 403. A destination that looks at the message before it
looks at the key would answer 400 to every key; the same probe without the key tells, so that no bad key is called good.
"""

import asyncio
from dataclasses import dataclass

import httpx

from windsor_sync.delivery.endings import redirected
from windsor_sync.delivery.protocols.segment_webhook import WebhookWire
from windsor_sync.delivery.protocols.windsor_hook import HookWire
from windsor_sync.delivery.transport import HttpTransport, always
from windsor_sync.delivery.verdicts import Answer
from windsor_sync.http.client import FAILURES, Client
from windsor_sync.http.opening import tls_of
from windsor_sync.settings import Destination, WireName

TIMEOUT_S = 5.0
NO_KEY = "not-a-key"
REFUSED = (401, 403)
UNDERSTOOD = (400, 413, 422)


@dataclass(frozen=True, slots=True)
class ProbeFinding:
    """The outcome of a probe."""

    is_good: bool
    text: str
    is_certain: bool = True
    """false where what answers says nothing about the key"""
    refuses_key: bool = False
    """the remedy is up to who knows where the key came from"""


def probe(destination: Destination, api_key: str) -> ProbeFinding:
    """Say whether Windsor is there and takes the key."""
    return asyncio.run(_probe(destination, api_key))


def date_of(destination: Destination) -> str | None:
    """Return the Date of any answer, empty where it has none; None where nobody answers. Raises ConfigError."""
    return asyncio.run(_date_of(destination))


async def _date_of(destination: Destination) -> str | None:
    url = httpx.URL(destination.url)
    request = httpx.Request("GET", url, headers={"Host": url.netloc.decode("ascii"), "Accept": "*/*"})
    client = Client(connections=1, timeout_s=TIMEOUT_S, tls=tls_of(destination))
    try:
        received = await client.receive(request, within_s=TIMEOUT_S)
    except FAILURES:
        return None
    finally:
        client.close()
    return str(httpx.Headers(received.headers).get("date", ""))


async def _probe(destination: Destination, api_key: str) -> ProbeFinding:
    async with HttpTransport(connections=1, timeout_s=TIMEOUT_S, tls=tls_of(destination)) as transport:
        answer = await transport.send(_nothing_at_all(destination, api_key), always)
        if not _may_be_about_the_message(answer):
            return _finding(answer)
        control = await transport.send(_nothing_at_all(destination, NO_KEY), always)
    if control.status in REFUSED:
        return ProbeFinding(True, "Windsor is there and takes the key. Nothing was sent that it could keep.")
    return ProbeFinding(
        False,
        f"Something answers there ({answer.status}), but it answers a wrong key alike ({control.status or 'not at all'}): "
        "this says nothing about the key. Check the URL and the wire; a sync of a small audience will tell.",
        is_certain=False,
    )


def _nothing_at_all(destination: Destination, api_key: str) -> httpx.Request:
    """A request without any event in it."""
    if destination.wire is WireName.WINDSOR_HOOK:
        return HookWire(destination.url, api_key).request([])
    return WebhookWire(destination.url, api_key).request([b"{}"])


def _may_be_about_the_message(answer: Answer) -> bool:
    is_yes = 200 <= answer.status < 300 and not answer.is_page
    return is_yes or answer.status in UNDERSTOOD


def _finding(answer: Answer) -> ProbeFinding:
    if answer.status in REFUSED:
        text = f"Windsor is there and refuses the key ({answer.status}). Nothing was sent."
        return ProbeFinding(False, text, refuses_key=True)
    if 300 <= answer.status < 400:
        return ProbeFinding(False, f"{redirected(answer)}. Nothing was sent.")
    if not answer.status:
        return ProbeFinding(False, f"Windsor cannot be reached: {answer.message}. Check the URL. Nothing was sent.")
    if answer.is_page:
        return ProbeFinding(False, "A web page answers there instead of Windsor. Check the URL. Nothing was sent.")
    if answer.status >= 500 or answer.status == 429:
        return ProbeFinding(
            False, f"Windsor is there, but answers {answer.status} now. Try again later. Nothing was sent."
        )
    return ProbeFinding(
        False, f"No webhook answers at this address ({answer.status}). Check the URL. Nothing was sent."
    )

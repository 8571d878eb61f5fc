"""Sends one call outside of every run: no ledger, no retry, one answer."""

import asyncio
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from windsor_sync.delivery.protocols import WireProtocol
from windsor_sync.delivery.protocols.wires import WIRES
from windsor_sync.delivery.transport import HttpTransport, always
from windsor_sync.delivery.verdicts import Answer
from windsor_sync.errors import ConfigError, CredentialsRefused, DestinationUnavailable, MessagesRejected
from windsor_sync.http.opening import tls_of
from windsor_sync.segment.calls import encode, normalise, validate
from windsor_sync.settings import Destination

WAIT = (408, 423, 429)


def send_one(destination: Destination, api_key: str, call: Mapping[str, Any]) -> None:
    """Send a call and take the answer; raises ConfigError before it, or what the answer stands for."""
    message = _encoded(call)
    wire = WIRES[destination.wire](destination.url, api_key)
    encoded = wire.encoded(message)
    if encoded is None:
        raise ConfigError(
            f"Windsor's own hook has no call {call.get('type')}. Nothing was sent. Send identify or track."
        )
    asyncio.run(_sent(destination, wire, encoded))


def _encoded(call: Mapping[str, Any]) -> bytes:
    named = {"messageId": f"windsor_sync_{uuid.uuid4()}", "timestamp": datetime.now(UTC).isoformat(), **call}
    try:
        normal = normalise(named)
        message = encode(normal)
        refusal = validate(normal, len(message))
    except (TypeError, ValueError):
        raise ConfigError(
            "The call has values that JSON has not. Nothing was sent. Make them text or numbers."
        ) from None
    if refusal is not None:
        raise ConfigError(f"Segment would refuse this call ({refusal.value}). Nothing was sent. Correct the call.")
    return message


async def _sent(destination: Destination, wire: WireProtocol, message: bytes) -> None:
    async with HttpTransport(connections=1, timeout_s=destination.timeout_s, tls=tls_of(destination)) as transport:
        answer = await transport.send(wire.request([message]), always)
    _judge(answer)


def _judge(answer: Answer) -> None:
    if 200 <= answer.status < 300 and not answer.is_page:
        return
    if answer.status in (401, 403):
        raise CredentialsRefused(
            f"Windsor refused the API key ({answer.status}). The call was not applied. Put a valid key into the connection."
        )
    if not answer.status or answer.is_page or answer.status >= 500 or answer.status in WAIT:
        applied = "It may have been applied" if answer.was_sent and answer.status not in WAIT else "It was not applied"
        raise DestinationUnavailable(
            f"Windsor did not take the call ({answer.status or answer.message}). {applied}. Send it again, with the same "
            "messageId.",
            answer.retry_after_s,
        )
    raise MessagesRejected(
        f"Windsor rejected the call ({answer.status}). It was not applied. Correct the call or the URL."
    )

"""The wire of Segment's subscriptions: one JSON event a POST, the API key as Basic auth's user.

Source: facts on the subscription webhook (segment-docs: src/partners/subscriptions/build-webhook.md).
"""

import base64
from collections.abc import Sequence

import httpx

from windsor_sync.segment.calls import MAX_MESSAGE_BYTES, Call

USER_AGENT = "windsor_sync"


class WebhookWire:
    """Renders requests to one address with one key."""

    calls = frozenset(call.value for call in Call)
    batch_size = 1
    most_bytes = MAX_MESSAGE_BYTES

    def __init__(self, url: str, api_key: str) -> None:
        token = base64.b64encode(f"{api_key}:".encode()).decode("ascii")
        self._url = httpx.URL(url)
        self._headers = httpx.Headers(
            {
                "Host": self._url.netloc.decode("ascii"),
                "Authorization": f"Basic {token}",
                "Content-Type": "application/json",
                "Accept": "*/*",
                "User-Agent": USER_AGENT,
            }
        )

    def encoded(self, message: bytes) -> bytes:
        """Return the message unchanged: this wire sends Segment's own format, for all six calls."""
        return message

    def request(self, messages: Sequence[bytes]) -> httpx.Request:
        """A POST of the one message."""
        (message,) = messages
        headers = self._headers.copy()
        headers["Content-Length"] = str(len(message))
        # Given a stream, httpx takes the headers for complete; to look at them and add its own takes it three times as long.
        request = httpx.Request("POST", self._url, headers=headers, stream=httpx.ByteStream(message))
        request.read()
        return request

"""The wire of Segment's subscriptions: one JSON event a POST, the API key as Basic auth's user.

Source: facts on the subscription webhook (segment-docs: src/partners/subscriptions/build-webhook.md).
"""

import base64

import httpx

USER_AGENT = "windsor_sync"


class SegmentWebhook:
    """Renders requests to one address with one key."""

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

    def request(self, message: bytes) -> httpx.Request:
        """A POST of the whole message."""
        return httpx.Request("POST", self._url, headers=self._headers, content=message)

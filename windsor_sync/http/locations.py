"""Shows the address to which a redirect points, without what is private in it."""

from urllib.parse import urlsplit

TOKEN_LENGTH = 16


def shown_location(header: str | None, asked: str = "") -> str | None:
    """Return the address without credentials, query, and what may be a token in its path; None where it makes no sense.

    A path alone is one of the host that was `asked`.
    """
    try:
        parts, host_asked = urlsplit(header or ""), urlsplit(asked)
        path = "/".join("…" if len(each) >= TOKEN_LENGTH else each for each in parts.path.split("/"))
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return None
    scheme = parts.scheme or host_asked.scheme
    if not host and path.startswith("/") and asked:
        host = host_asked.netloc.rpartition("@")[2]
    text = f"{scheme}://{host}{path}" if host else path
    return text if text and text.isprintable() else None

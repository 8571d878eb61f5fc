"""Words for the reasons why a delivery stopped before its end. Windsor's own are quoted only after redaction."""

from windsor_sync.delivery.verdicts import PROXY_REFUSES, Answer
from windsor_sync.errors import CredentialsRefused, DestinationUnavailable, MessagesRejected


def stopped(answer: Answer) -> CredentialsRefused | DestinationUnavailable:
    """Every further request would fail too."""
    return redirected(answer) if 300 <= answer.status < 400 else credentials_refused(answer)


def redirected(answer: Answer) -> DestinationUnavailable:
    """Windsor is at another address."""
    to = f" to {answer.location}: if that is Windsor's, put it into destination.url" if answer.location else ""
    return DestinationUnavailable(f"destination.url is redirected ({answer.status}){to}")


def credentials_refused(answer: Answer) -> CredentialsRefused:
    """The key is no good, or a proxy's."""
    if answer.status == PROXY_REFUSES:
        return CredentialsRefused(
            "The proxy that the environment names (HTTP_PROXY) refused its user or password (407)"
        )
    return CredentialsRefused(f"Windsor refused the API key ({answer.status})")


def everything_rejected(count: int, code: int | None, words: str | None) -> MessagesRejected:
    """Nothing was taken from the start; `words` are redacted."""
    said = f', saying "{words}"' if words else ""
    which = "the only message" if count == 1 else f"the first {count} messages without taking one"
    return MessagesRejected(f"Windsor rejected {which} ({code}{said})")


def unavailable(answer: Answer, silent_s: float, give_up_after_s: float) -> DestinationUnavailable:
    """Nothing useful came for as long as the run waits, or Windsor says that nothing will."""
    kind = answer.message if answer.is_page or not answer.status else None
    last = ", ".join(filter(None, (f"status {answer.status}" if answer.status else None, kind))) or "no answer"
    asked_s = answer.retry_after_s
    if silent_s < give_up_after_s or (asked_s or 0.0) >= give_up_after_s:
        text = f"Windsor asks to wait {asked_s or 0:.0f} s ({last}), and this run waits {give_up_after_s:.0f} s at most"
        if (asked_s or 0.0) < give_up_after_s:
            text += f", of which {silent_s:.0f} s are over"
    else:
        text = f"Windsor has not been available for {silent_s:.0f} s (last: {last})"
    return DestinationUnavailable(text, retry_after_s=asked_s)

"""Standard output that stops no command: what comes after its reader left (`runs | head`), or its disk is full, is dropped."""

import io
import os
import sys
from contextlib import suppress


class _UntilReaderLeaves(io.RawIOBase):
    """A file descriptor that takes everything, and drops what cannot be written."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.failure: OSError | None = None

    def write(self, data: "object") -> int:
        """Write what fits; after the reader has left, nothing. Another failure is kept."""
        view = memoryview(data)  # type: ignore[arg-type]
        try:
            return os.write(self._descriptor, view)
        except BrokenPipeError:
            return len(view)
        except BlockingIOError:
            raise
        except OSError as error:
            self.failure = self.failure or error
            return len(view)

    def writable(self) -> bool:
        """Say that it takes bytes."""
        return True

    def fileno(self) -> int:
        """The descriptor itself."""
        return self._descriptor

    def isatty(self) -> bool:
        """Whether a terminal is behind it."""
        return os.isatty(self._descriptor)


def lost_output() -> str | None:
    """Return why something that a command printed is lost; None where everything was written, or its reader left."""
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw.failure.strerror if isinstance(raw, _UntilReaderLeaves) and raw.failure else None


def end_quietly_with_reader() -> None:
    """Let standard output drop what nobody reads any more, where it is a descriptor of its own."""
    with suppress(OSError, AttributeError, io.UnsupportedOperation):
        before = sys.stdout
        if isinstance(before, io.TextIOWrapper) and before is sys.__stdout__:
            raw = _UntilReaderLeaves(before.fileno())
            before.flush()
            sys.stdout = io.TextIOWrapper(
                io.BufferedWriter(raw), encoding=before.encoding, errors=before.errors, line_buffering=raw.isatty()
            )

"""Standard output whose reader may leave (`runs | head`): what comes after that is dropped, and the command ends as it would."""

import io
import os
import sys
from contextlib import suppress


class _UntilReaderLeaves(io.RawIOBase):
    """A file descriptor that takes everything, and drops it once nobody reads it any more."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, data: "object") -> int:
        """Write what fits; after the reader has left, nothing."""
        view = memoryview(data)  # type: ignore[arg-type]
        try:
            return os.write(self._descriptor, view)
        except BrokenPipeError:
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

"""What is kept of a command's output.

Owns two bounded views of one stream: an excerpt (its beginning and its end) and the lines that go to the execution
log. It reads no descriptor.

Invariant: memory is bounded by the limits and does not depend on how much a command writes, nor on where its line
ends are. A gigabyte on one line costs what a hundred kilobytes cost.
"""

from collections.abc import Callable

# With what it says about the rest, a clipped line stays below what the execution log takes whole.
MAX_LINE = 3800
MAX_LINES = 500
LAST_LINES = 20


class Excerpt:
    """The first and the last bytes of a stream, half of `limit` each."""

    def __init__(self, limit: int) -> None:
        self.size = 0
        self._head = bytearray()
        self._tail = bytearray()
        self._head_limit = limit - limit // 2
        self._tail_limit = limit // 2

    def add(self, chunk: bytes) -> None:
        self.size += len(chunk)
        room = self._head_limit - len(self._head)
        if room > 0:
            self._head += chunk[:room]
            chunk = chunk[room:]
        self._tail += chunk
        # Cut only when twice too long, so that each byte is moved once and not at every chunk.
        if len(self._tail) > 2 * self._tail_limit:
            del self._tail[: len(self._tail) - self._tail_limit]

    @property
    def left_out(self) -> int:
        """Bytes between the beginning and the end that were not kept."""
        return max(0, self.size - self._head_limit - self._tail_limit)

    def text(self) -> str:
        """Return what was kept, with a line that says how much was not."""
        if not self.left_out:
            return decode(bytes(self._head + self._tail))
        return f"{decode(bytes(self._head))}\n[... {self.left_out} bytes left out ...]\n{decode(self._end())}"

    def last_lines(self, count: int) -> list[str]:
        """Return up to `count` of the last lines that are not blank, each clipped to MAX_LINE characters."""
        text = decode(self._end() if self.left_out else bytes(self._head + self._tail))
        lines = [line.rstrip() for line in text.split("\n") if line.strip()]
        return [line[-MAX_LINE:] for line in lines[-count:]] if count else []

    def _end(self) -> bytes:
        return bytes(self._tail[-self._tail_limit :]) if self._tail_limit else b""


class LineLog:
    """Hands on each line as it is complete: MAX_LINES of them, then at the end how many were left out and the last."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._line = bytearray()
        self._clipped = 0
        self._written = 0
        self._left_out = 0
        self._is_open = False

    def add(self, chunk: bytes) -> None:
        start = 0
        while self._written < MAX_LINES:
            end = chunk.find(b"\n", start)
            if end < 0:
                self._hold(chunk[start:])
                return
            self._hold(chunk[start:end])
            self._hand_on()
            start = end + 1
        rest = chunk[start:]
        if rest:
            self._left_out += rest.count(b"\n")
            self._is_open = not rest.endswith(b"\n")

    def close(self, excerpt: Excerpt) -> None:
        """Hand on what is still held, and the end of the `excerpt` of the same stream when lines were left out."""
        if self._line or self._clipped:
            self._hand_on()
        left_out = self._left_out + self._is_open
        if not left_out:
            return
        last = excerpt.last_lines(min(LAST_LINES, left_out))
        self._write(f"[... {left_out - len(last)} lines left out of the log ...]")
        for line in last:
            self._write(line)

    def _hold(self, piece: bytes) -> None:
        room = MAX_LINE - len(self._line)
        self._line += piece[:room]
        self._clipped += max(0, len(piece) - room)

    def _hand_on(self) -> None:
        text = decode(bytes(self._line)).rstrip("\r")
        if self._clipped:
            text = f"{text} [... {self._clipped} bytes left out ...]"
        self._line.clear()
        self._clipped = 0
        self._written += 1
        self._write(text)


def decode(content: bytes) -> str:
    """Return any bytes as a text that PostgreSQL can store: not UTF-8 and NUL become the replacement character."""
    return content.decode("utf-8", "replace").replace("\0", "\ufffd")

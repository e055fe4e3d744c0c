"""Text that may be about to end: pieces of text come in, and go out as soon as no stop string can begin in them."""

from collections.abc import Sequence


class StopText:
    """Holds back a partial match of a stop string; what follows the first complete one is dropped, with it.

    The result depends on the text alone, not on where its pieces were cut: the stop string that is complete first
    ends the text, and of those that end together the longest.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self.stops = tuple(stops)
        self.is_stopped = False
        self._held = ""

    def push(self, piece: str) -> str:
        """The text that is now certain."""
        if not self.stops:
            return piece
        if self.is_stopped:
            return ""
        text = self._held + piece
        matches = [(text.find(stop) + len(stop), -len(stop)) for stop in self.stops if stop in text]
        if matches:
            end, minus_length = min(matches)
            self.is_stopped, self._held = True, ""
            return text[: end + minus_length]
        n_held = max(_overlap(text, stop) for stop in self.stops)
        self._held = text[len(text) - n_held :]
        return text[: len(text) - n_held]

    def finish(self) -> str:
        """What was held back, when nothing more comes."""
        text, self._held = self._held, ""
        return text


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that begins `stop`."""
    return next((n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n])), 0)

"""Stop between two steps, not within one: Ctrl-C and SIGTERM become a request that a loop polls."""

import signal
import threading


class Interruption:
    """Inside `with`, the first Ctrl-C or SIGTERM only sets `requested`; a second one acts at once.

    An exception raised in the middle of a step could separate the weights, already changed, from
    the count of steps. Outside the main thread Python cannot handle signals: nothing is caught.
    """

    def __init__(self):
        self.requested = None
        self._before = {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._request)
        return self

    def __exit__(self, *error):
        while self._before:
            signal.signal(*self._before.popitem())

    def _request(self, number, frame):
        self.requested = number
        self.__exit__()

    def raise_pending(self) -> None:
        """Act on the signal as if it had not been caught, and raise `KeyboardInterrupt`."""
        signal.raise_signal(self.requested)
        raise KeyboardInterrupt  # where a handler of another's returns

"""Stop between two steps, not in one: Ctrl-C and SIGTERM as a request that a loop polls."""

import signal
import threading


class Interruption:
    """Inside `with`, the first Ctrl-C or SIGTERM only sets `requested`; a second one acts at once.

    An interrupt that is raised where it falls can part the weights, already changed, from the
    count of steps. In other threads than the main one, where Python cannot, nothing is caught.
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
        """Do what the signal would have done, by default `KeyboardInterrupt` or the end."""
        signal.raise_signal(self.requested)
        raise KeyboardInterrupt  # whoever handles the signal in another way

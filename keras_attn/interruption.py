"""Stop between two steps, not in one: Ctrl-C and SIGTERM as a wish that a loop asks for."""

import signal
import threading


class Interruption:
    """Inside `with`, the first Ctrl-C or SIGTERM only sets `wished`; a second one acts at once.

    An interrupt that is raised where it falls can part the weights, already changed, from the
    count of steps. In other threads than the main one, where Python cannot, nothing is caught.
    """

    def __init__(self):
        self.wished = None
        self._before = {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._wish)
        return self

    def __exit__(self, *error):
        while self._before:
            signal.signal(*self._before.popitem())

    def _wish(self, number, frame):
        self.wished = number
        self.__exit__()

    def obey(self) -> None:
        """Do what the signal would have done, by default `KeyboardInterrupt` or the end."""
        signal.raise_signal(self.wished)
        raise KeyboardInterrupt  # whoever handles the signal in another way

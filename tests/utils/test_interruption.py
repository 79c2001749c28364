"""The first signal is a request, the second acts, and the handlers are put back."""

import signal
import threading

import pytest

from keras_attn.utils.interruption import Interruption


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_waits_and_the_second_acts(number):
    heard = []
    before = signal.signal(number, lambda *arguments: heard.append(arguments))
    try:
        with Interruption() as interruption:
            assert interruption.requested is None
            signal.raise_signal(number)
            assert interruption.requested == number and heard == []
            signal.raise_signal(number)
            assert len(heard) == 1
            with pytest.raises(KeyboardInterrupt):
                interruption.raise_pending()
            assert len(heard) == 2
    finally:
        signal.signal(number, before)


def test_without_a_signal_the_handlers_are_put_back():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with Interruption():
        assert signal.getsignal(signal.SIGINT) is not before[0]
    assert before == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]


def test_in_another_thread_nothing_is_caught():
    before, seen = signal.getsignal(signal.SIGINT), []

    def work():
        with Interruption() as interruption:
            seen.append((signal.getsignal(signal.SIGINT) is before, interruption.requested))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(True, None)]

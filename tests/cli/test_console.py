"""Progress goes to standard error, in lines that make sense without a terminal."""

from types import SimpleNamespace

import pytest

from keras_attn.cli.console import Console

ROW = {"stage": "truth", "epoch": 2, "loss": 0.123456, "clips_per_second": 9.87, "data_wait": 0.5}
STEP = SimpleNamespace(
    epoch=1, epochs=2, step=3, steps=4, logs={"loss": 1.0}, clips_per_second=2.0, data_wait=0.0
)


def test_without_a_terminal_only_lines_are_printed(capsys):
    with Console().progress("train") as progress:
        progress(0, 24, "24 videos: about 3 minutes")
        progress(1, 24, "a.mp4")
        progress(STEP)
        progress(ROW)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines() == [
        "24 videos: about 3 minutes",
        "truth epoch   2  loss 0.1235  9.9 clips/s  50% waiting for data",
    ]


def test_a_terminal_gets_a_bar(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with Console().progress("scan") as progress:
        progress(7, 24, "a.mp4")
        progress(STEP)
    assert "epoch 1/2" in capsys.readouterr().err


@pytest.mark.parametrize("options", [{"quiet": True}, {"as_json": True}])
def test_quiet_and_json_show_no_progress(options):
    with Console(**options).progress("scan") as progress:
        assert progress is None

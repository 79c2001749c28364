"""Clips cut without encoding them again, and recordings with lost frames, are read as they are."""

from pathlib import Path

import av
import damage
import pytest

from keras_attn.decoding.frames import read_frames
from keras_attn.errors import DataError

# What a player shows of the files in `cases`.
CASES = {
    "trim_in_0.2.mp4": 32,
    "trim_in_1.3.mp4": 32,
    "trim_in.mov": 32,
    "drop1.mkv": 99,
    "drop1.ts": 99,
    "webcam.mkv": 117,
    "hls_cat.ts": 75,
    "vfr.mp4": 24,
    "anamorphic.mp4": 25,
}


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Two seconds with B-frames, and a key frame every 12."""
    path = tmp_path_factory.mktemp("cuts") / "clip.mp4"
    path.write_bytes(damage.encode(".mp4", "libx264", damage.pictures(50), options={"g": "12"}))
    return path


@pytest.mark.parametrize("start", [0.0, 0.2, 0.68, 1.3])
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".ts", ".flv"])
def test_a_cut_has_the_frames_that_it_shows(clip, tmp_path, monkeypatch, suffix, start):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "scripts"))
    import cut_clips

    target = tmp_path / f"cut{suffix}"
    shown = cut_clips.cut(clip, target, start, 0.5)
    frames, info = read_frames(target)
    assert len(frames) == shown == info["promised"]
    assert 10 < shown < 26


@pytest.mark.parametrize("suffix", [".mkv", ".ts", ".flv", ".mp4"])
def test_a_lost_frame_is_no_cut_file(tmp_path, suffix):
    """One to which no other refers: the recorder was too slow for it."""
    clip, target = tmp_path / "clip.mp4", tmp_path / f"lost{suffix}"
    clip.write_bytes(damage.encode(".mp4", "libx264", damage.pictures(), options={"g": "1"}))
    assert _copied(clip, target, lambda number: number != 17) == 29
    frames, info = read_frames(target)
    assert len(frames) == 29 == info["promised"]


@pytest.mark.parametrize("suffix", [".mkv", ".flv", ".mp4"])
def test_what_is_missing_at_the_end_is_told(clip, tmp_path, suffix):
    target = tmp_path / f"end{suffix}"
    _copied(clip, target, lambda number: True)
    data = target.read_bytes()
    index = data.find(b"moov") if suffix == ".mp4" else len(data)
    target.write_bytes(data[: min(index, len(data)) * 3 // 4])
    with pytest.raises(DataError):
        read_frames(target)


def _copied(source, target, wanted):
    """Copy the packets whose number is wanted; how many these are."""
    count = 0
    with av.open(str(source)) as clip, av.open(str(target), "w") as made:
        stream = clip.streams.video[0]
        copy = made.add_stream_from_template(stream)
        for number, packet in enumerate(clip.demux(stream)):
            if packet.dts is not None and wanted(number):
                packet.stream = copy
                made.mux(packet)
                count += 1
    return count


def test_joined_transport_streams_are_one(clip, tmp_path):
    target = tmp_path / "part.ts"
    assert _copied(clip, target, lambda number: True) == 50
    (tmp_path / "joined.ts").write_bytes(2 * target.read_bytes())
    assert len(read_frames(tmp_path / "joined.ts")[0]) == 100


@pytest.mark.parametrize("name", CASES)
def test_cases_that_people_have(shared_data, name):
    assert len(read_frames(shared_data / "cases" / name)[0]) == CASES[name]

"""Cut clips at random places without encoding them again, and read what comes of it.

    python scripts/cut_clips.py FOLDER --cuts 200

As of `ffmpeg -ss START -t SECONDS -i CLIP -c copy`, a cut begins at the key frame before START. In
MP4 and MOV an edit list hides the frames between; in the other containers they are shown. Prints,
for each container, how many cuts were refused, and how many had another number of frames than were
put in to be shown.
"""

import argparse
import tempfile
from pathlib import Path

import av
import numpy as np

from keras_attn.decoding.frames import read_frames
from keras_attn.errors import DataError

CONTAINERS = (".mp4", ".mov", ".mkv", ".ts", ".flv")
HIDING = (".mp4", ".mov")  # those whose edit lists hide what comes before the start


def cut(source, target, start, seconds):
    """Copy the packets of a span of time, from the key frame before it; the frames to be shown."""
    shown = 0
    with av.open(str(source)) as clip, av.open(str(target), "w") as made:
        stream = clip.streams.video[0]
        copy = made.add_stream_from_template(stream)
        begin = int(start / stream.time_base) + (stream.start_time or 0)
        clip.seek(begin, stream=stream)
        for packet in clip.demux(stream):
            if packet.dts is None or packet.pts >= begin + seconds / stream.time_base:
                continue
            shown += packet.pts >= begin or target.suffix not in HIDING
            packet.pts, packet.dts = packet.pts - begin, packet.dts - begin
            packet.stream = copy
            made.mux(packet)
    return shown


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="clips of H.264")
    parser.add_argument("--cuts", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    clips = sorted(path for path in options.folder.rglob("*") if path.suffix in (".mp4", ".mov"))
    random = np.random.default_rng(options.seed)
    found = {suffix: [0, 0, 0] for suffix in CONTAINERS}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.cuts):
            suffix = CONTAINERS[number % len(CONTAINERS)]
            clip = clips[random.integers(len(clips))]
            with av.open(str(clip)) as container:
                seconds = container.duration / 1e6
            target = Path(folder) / f"cut{suffix}"
            start, share = random.uniform(0, 0.6) * seconds, random.uniform(0.2, 0.4)
            shown = cut(clip, target, start, share * seconds)
            found[suffix][0] += 1
            try:
                frames, _ = read_frames(target, 64)
                found[suffix][2] += len(frames) != shown
            except DataError as error:
                print(f"{clip.name} from {start:.3f} s: {error}")
                found[suffix][1] += 1
    print("| container | cuts | refused | other number of frames |\n|---|--:|--:|--:|")
    for suffix, counts in found.items():
        print(f"| {suffix} | {' | '.join(map(str, counts))} |")


if __name__ == "__main__":
    main()

"""Makes video files that are damaged in known ways, from small videos encoded on the spot."""

import dataclasses
import io
import struct
import tempfile
import zlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

FRAMES, HEIGHT, WIDTH = 30, 48, 64


@dataclasses.dataclass(frozen=True)
class Case:
    """A file; `usable` is what a scan must say of it, None where both can be right.

    With None, the file must be unusable or have at least `frames` frames: nothing may be lost
    silently.
    """

    name: str
    kind: str
    data: bytes
    usable: bool | None
    frames: int = FRAMES


def pictures(count=FRAMES, height=HEIGHT, width=WIDTH, seed=0):
    """`(count, height, width, 3)` uint8: waves that move, so that every frame has content."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width]
    phase = random.uniform(0, 6, (3, 1, 1))
    frames = [
        127 + 90 * np.sin(rows / 5 + number / 3 + phase) * np.cos(columns / 7 - number / 4 + phase)
        for number in range(count)
    ]
    noise = random.normal(0, 8, (count, 3, height, width))
    return np.clip(np.stack(frames) + noise, 0, 255).astype("uint8").transpose(0, 2, 3, 1)


def encode(suffix, codec, frames, rate=25, pixels="yuv420p", options=None, format_options=None):
    """The bytes of a video file of `frames`."""
    with tempfile.TemporaryDirectory() as folder:  # FFmpeg's faststart needs a real file
        path = Path(folder, "video" + suffix)
        with av.open(
            str(path), "w", options={"fflags": "+bitexact", **(format_options or {})}
        ) as container:
            stream = container.add_stream(codec, rate=rate, options=options or {})
            stream.height, stream.width = frames.shape[1:3]
            stream.pix_fmt = pixels
            stream.codec_context.thread_count = 1
            container.start_encoding()  # a header even without any frame
            for number, picture in enumerate(frames):
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, rate)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path.read_bytes()


def sources():
    """Name -> bytes of the good videos that the damaged ones are made from."""
    frames = pictures()
    quick = {"preset": "ultrafast", "g": "10", "bf": "0"}
    front = {"movflags": "faststart"}
    return {
        "front.mp4": encode(".mp4", "libx264", frames, options=quick, format_options=front),
        "back.mp4": encode(
            ".mp4", "libx264", frames, options={"g": "12", "x264-params": "rc-lookahead=0:mbtree=0"}
        ),
        "part.avi": encode(".avi", "mpeg4", frames, options={"g": "10", "b": "600000"}),
        "matroska.mkv": encode(".mkv", "libx264", frames, options=quick),
        "web.webm": encode(".webm", "libvpx-vp9", frames, options={"cpu-used": "8", "g": "10"}),
    }


def cases():
    """All damaged files, with some good ones among them."""
    made = [case for name, data in sources().items() for case in _of_one(name, data)]
    return made + list(_other_files()) + list(_liars()) + list(_sizes())


def _of_one(name, data):
    stem, _, suffix = name.partition(".")
    random = np.random.default_rng(zlib.crc32(name.encode()))

    def case(kind, content, usable, frames=FRAMES, extension=suffix):
        return Case(f"{stem}-{kind}.{extension}", kind, content, usable, frames)

    yield case("good", data, True)
    yield case("empty", b"", False)
    yield case("tiny", data[:16], False)
    yield case("headless", data[200:], False if suffix != "avi" else None)
    for percent in (5, 25, 50, 75, 90, 99):
        # The last hundredth can be an index that nothing needs: then no frame is lost.
        usable = None if percent == 99 else False
        yield case(f"truncated{percent}", data[: len(data) * percent // 100], usable)
    for number in range(4):
        yield case(f"bitrot-head{number}", _flipped(data, random, 0, 600, 4), None)
    for rate in (1e-4, 1e-3, 1e-2):
        count = max(1, int(len(data) * 8 * rate))
        content = _flipped(data, random, 600, len(data), count)
        yield case(f"bitrot-body{rate:g}", content, None if rate < 1e-3 else False)
    middle = len(data) // 2
    yield case("zeroed", _overwritten(data, middle, bytes(len(data) // 8)), False)
    noise = random.bytes(len(data) - 1000)
    yield case("noise", _overwritten(data, 1000, noise), False)
    yield case("twice", data + data, None)
    yield case("extension", data, True, extension="jpg")
    yield case("no-extension", data, True, extension="v")


def _flipped(data, random, start, end, count):
    content = bytearray(data)
    for bit in random.integers(start * 8, min(end, len(data)) * 8, count):
        content[bit // 8] ^= 1 << (bit % 8)
    return bytes(content)


def _overwritten(data, start, part):
    return data[:start] + part + data[start + len(part) :]


def _other_files():
    """Files that are no videos at all."""
    yield Case("notes.mp4", "text", b"This is not a video.\n" * 200, False)
    yield Case("ansi.ans", "text", b"\x1b[31mred\x1b[0m\r\n" * 300, False)
    yield Case("page.txt", "text", "Grüße, ünïcödé\n".encode() * 50, False)
    yield Case(
        "list.m3u8", "playlist", b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n/dev/zero\n", False
    )
    yield Case("list.ffconcat", "playlist", b"ffconcat version 1.0\nfile front-good.mp4\n", False)
    picture = av.VideoFrame.from_ndarray(pictures(1)[0], format="rgb24")
    for codec, pixels in (("png", "rgb24"), ("mjpeg", "yuvj420p")):
        context = av.CodecContext.create(codec, "w")
        context.height, context.width, context.pix_fmt = HEIGHT, WIDTH, pixels
        context.time_base = Fraction(1, 25)
        data = b"".join(map(bytes, context.encode(picture.reformat(format=pixels))))
        yield Case(f"picture-{codec}.mp4", "image", data, False)
    yield Case("sound.wav", "audio", _sound("wav", "pcm_s16le"), False)
    yield Case("sound.mp4", "audio", _sound("mp4", "aac"), False)
    yield Case("random.mp4", "random", np.random.default_rng(5).bytes(5000), False)


def _sound(form, codec):
    file = io.BytesIO()
    with av.open(file, "w", format=form) as container:
        stream = container.add_stream(codec, rate=8000)
        stream.layout = "mono"
        samples = (8000 * np.sin(np.arange(8000) / 9)).astype("int16")[None]
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 8000, 0, Fraction(1, 8000)
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return file.getvalue()


def _liars():
    """Good streams in containers that say something else of them."""
    made = sources()
    avi, mp4 = made["part.avi"], made["front.mp4"]
    length = avi.index(b"strh") + 8 + 32  # dwLength of the stream header
    total = avi.index(b"avih") + 8 + 16  # dwTotalFrames of the main header
    for count in (FRAMES + 1, 1000, 2**31 - 1):
        data = avi[:length] + struct.pack("<I", count) + avi[length + 4 :]
        yield Case(f"more{count}.avi", "count", data, None)
    data = avi[:length] + struct.pack("<I", 10) + avi[length + 4 :]
    yield Case("fewer.avi", "count", data, None)
    data = avi[:total] + struct.pack("<I", 99999) + avi[total + 4 :]
    yield Case("main-header.avi", "count", data, None)
    for seconds in (0, 36000):
        at = mp4.index(b"mvhd") + 4 + 16
        data = mp4[:at] + struct.pack(">I", seconds * 1000) + mp4[at + 4 :]
        yield Case(f"duration{seconds}.mp4", "duration", data, None)
    webm = made["web.webm"]
    at = webm.index(b"\x44\x89\x88") + 3  # Duration, a float of 8 bytes
    data = webm[:at] + struct.pack(">d", 36_000_000.0) + webm[at + 8 :]
    yield Case("duration.webm", "duration", data, None)
    at = mp4.index(b"stsz") + 4 + 8
    for count in (2**31 - 1, FRAMES + 1):
        data = mp4[:at] + struct.pack(">I", count) + mp4[at + 4 :]
        yield Case(f"samples{count}.mp4", "count", data, None)


def _sizes():
    one = pictures(1)
    yield Case("one-frame.mp4", "one frame", encode(".mp4", "libx264", one), True, 1)
    yield Case("one-frame.mkv", "one frame", encode(".mkv", "libx264", one), True, 1)
    yield Case("no-frame.mkv", "no frame", encode(".mkv", "mpeg4", pictures(1)[:0]), False)
    yield Case("no-frame.avi", "no frame", encode(".avi", "mpeg4", pictures(1)[:0]), False)
    for height, width in ((1, 1), (1, 40), (33, 47), (3, 500)):
        frames = pictures(5, height, width)
        data = encode(".mkv", "ffv1", frames, pixels="bgr0")
        yield Case(f"size{height}x{width}.mkv", "size", data, True, 5)


def write(folder, made) -> Path:
    """Write the cases as videos of two classes below `folder`."""
    folder = Path(folder)
    for number, case in enumerate(made):
        path = folder / ("left", "right")[number % 2] / case.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(case.data)
    return folder


def id_of(number, case) -> str:
    """The id that a scan gives the case at `number`."""
    return f"{('left', 'right')[number % 2]}/{case.name}"

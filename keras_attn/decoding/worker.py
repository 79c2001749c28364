"""A process that decodes video files on request, so that a hostile file can harm only itself.

    request   one JSON line on stdin: {"operation": "check" | "jpeg" | "frames", "path": ..., ...}
    answer    parts on stdout as they are made, each behind its size (8 bytes, little-endian); then
              a size of 0 and one JSON line with "info" and "problem"

JSON and raw bytes, because unpickling what a corrupted process sends would run it. TensorFlow is
never imported here. Start it with `python -m keras_attn.decoding.worker MEMORY_BYTES`.
"""

import contextlib
import errno
import fractions
import hashlib
import json
import os
import resource
import signal
import sys

import av
import numpy as np

from keras_attn.decoding import SIZE_BYTES
from keras_attn.decoding.damage import Problem, brief, explain, shortage

_LIBAVCODEC = ".".join(str(part) for part in av.library_versions["libavcodec"])
DECODER = f"PyAV {av.__version__}, libavcodec {_LIBAVCODEC}"
# A text file is an ANSI animation to FFmpeg, and a playlist opens other files.
_NOT_VIDEO = {"tty", "image2", "hls", "dash", "concat", "concatf", "imf", "mpjpeg", "sdp", "rtsp"}
_SPARE_SECONDS = 5  # after the parent's limit, in case the parent died without a word


def check(request):
    """Decode every frame and keep none."""
    for _ in _opened(request):
        pass
    yield from ()


_RGB = {"format": "rgb24"}
# JPEG files are read as BT.601 in full range, whatever the video was: HD video is BT.709.
_JPEG_COLORS = {
    "format": "yuvj420p",
    "dst_colorspace": "ITU601",
    "dst_color_range": "JPEG",
}


def jpeg(request):
    """Every frame as a JPEG of the size asked for."""
    encoder = None
    for number, frame in enumerate(_opened(request)):
        picture = _resized(frame, request["short_side"], request["info"], **_JPEG_COLORS)
        encoder = encoder or _jpeg_encoder(picture, request["quality"])
        picture.pts, picture.time_base = number, encoder.time_base
        yield b"".join(bytes(packet) for packet in encoder.encode(picture))


def frames(request):
    """Every frame as `(H, W, 3)` uint8 bytes."""
    for number, frame in enumerate(_opened(request)):
        info = request["info"]
        data = _resized(frame, request["short_side"], info, **_RGB).to_ndarray().tobytes()
        fit = request["max_bytes"] // len(data)
        if number == fit:
            time = f" ({fit / info['fps'] / 60:.1f} minutes)" if info["fps"] else ""
            raise Problem(
                "too long",
                f"its first {fit} frames{time} are all that {request['max_bytes'] / 2**20:.0f} MiB "
                "hold",
                "cut the video into pieces that are not longer",
            )
        yield data


OPERATIONS = {"check": check, "jpeg": jpeg, "frames": frames}


def _opened(request):
    """The frames of the file; the request's `info` is filled in while they are drawn."""
    info = {"frames": 0, "promised": 0, "fps": 0.0, "width": 0, "height": 0, "bytes": 0}
    info["sha256"] = ""
    request["info"] = info
    with open(request["path"], "rb") as file:
        info["bytes"] = os.fstat(file.fileno()).st_size
        if not info["bytes"]:
            raise Problem("empty", "the file has no bytes", "copy it again from its source")
        info["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
    yield from _decoded(request["path"], info)


def _decoded(path, info):
    with _container(path) as container:
        stream = _video_stream(container)
        context = stream.codec_context
        context.thread_count = 1
        context.options = {"err_detect": "explode"}
        info["fps"] = float(stream.average_rate or stream.guessed_rate or 0)
        info["promised"] = stream.frames
        times, hidden = [], 0
        for packet in container.demux(stream):
            # In a transport stream it may also be whole, and the next one does not follow it.
            if packet.is_corrupt and container.format.name != "mpegts":
                raise Problem("damaged", "the next packet is cut short")
            hidden += packet.is_discard
            for frame in packet.decode():
                if frame.is_corrupt:
                    raise Problem("damaged", "the decoder marks the next one as corrupt")
                _note(frame, info, times)
                yield frame
        info["promised"], problem = shortage(container, stream, times, hidden)
        if problem:
            raise problem


def _container(path):
    try:
        # "file:" keeps FFmpeg from reading a name such as "concat:x" as a protocol.
        options = {"protocol_whitelist": "file"}
        return av.open("file:" + path, options=options, metadata_errors="replace")
    except av.FFmpegError as error:
        if isinstance(error, MemoryError):
            raise
        raise Problem("not a video", f"or its header is damaged: {brief(error)}") from None


def _note(frame, info, times):
    if not times:
        info["width"], info["height"] = _upright(frame)
    info["frames"] += 1
    times.append(frame.time)


def _video_stream(container):
    name = container.format.name
    if name.endswith("_pipe"):
        raise Problem("still image", f"it is one picture ({name})", "give a video instead")
    if name in _NOT_VIDEO:
        raise Problem("not a video", f"FFmpeg reads it as {name!r}", "remove it, or give a video")
    for stream in container.streams.video:
        # The cover picture of a song is a video stream to FFmpeg.
        if not stream.disposition & av.stream.Disposition.attached_pic and stream.codec_context:
            return stream
    kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
    raise Problem("no pictures", f"it holds {kinds} but no video stream", "give a video instead")


def _upright(frame):
    turned = frame.rotation % 180 == 90
    return (frame.height, frame.width) if turned else (frame.width, frame.height)


def _resized(frame, short_side, info, **colors):
    """The upright frame in `colors`, its short side `short_side` but never enlarged.

    All frames get the size of the first, also where a video changes its size midway.
    """
    scale = min(1.0, short_side / min(info["width"], info["height"]))
    width, height = (max(1, round(scale * side)) for side in (info["width"], info["height"]))
    turns = round(frame.rotation / 90) % 4
    stored = (height, width) if turns % 2 else (width, height)
    info["stored_width"], info["stored_height"] = width, height
    if not turns:
        return frame.reformat(*stored, interpolation="BILINEAR", **colors)
    picture = frame.reformat(*stored, interpolation="BILINEAR", **_RGB).to_ndarray()
    turned = np.ascontiguousarray(np.rot90(picture, turns))
    return av.VideoFrame.from_ndarray(turned, format="rgb24").reformat(**colors)


def _jpeg_encoder(picture, quality):
    """FFmpeg's JPEG encoder; its quantizer that matches libjpeg's `quality` the closest.

    libjpeg divides by `scale` times a table that ends in 99, FFmpeg by `quantizer / 8` times one
    that ends in 83. Quality 95 is the finest step, quantizer 1.
    """
    scale = (200 - 2 * quality if quality >= 50 else 5000 / quality) / 100
    quantizer = str(min(31, max(1, round(scale * 99 * 8 / 83))))
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt = picture.width, picture.height, "yuvj420p"
    encoder.time_base = fractions.Fraction(1, 25)
    encoder.thread_count = 1
    encoder.options = {"qmin": quantizer, "qmax": quantizer}
    return encoder


def respond(request, send) -> dict:
    """Send the parts of an answer; what ends it. Whatever goes wrong becomes a named problem."""
    problem, parts = None, OPERATIONS[request["operation"]](request)
    while True:
        try:
            part = next(parts, None)
            if part is None and not request["info"]["frames"]:
                raise Problem(
                    "no pictures", "its video stream holds no frame", "give a whole video"
                )
        except Exception as error:  # PyAV raises also a bare IndexError or UnicodeDecodeError
            part, problem = None, explain(error, request.get("info"))
        if part is None:
            return {"info": request.get("info") or {}, "problem": problem}
        send(part)


def _limit_memory(size):
    # macOS refuses a limit below what it has mapped already: there the parent's clock protects.
    with contextlib.suppress(*([ValueError] if sys.platform == "darwin" else [])):
        resource.setrlimit(resource.RLIMIT_AS, (size, size))


def _serve(requests, answers):
    def send(part):
        answers.write(len(part).to_bytes(SIZE_BYTES, "little"))
        answers.write(part)

    for line in requests:
        request = json.loads(line)
        signal.alarm(int(request["timeout"]) + _SPARE_SECONDS)
        try:
            end = respond(request, send)
            answers.write(bytes(SIZE_BYTES) + json.dumps(end).encode() + b"\n")
            answers.flush()
        except OSError as error:
            if error.errno == errno.EPIPE:  # the parent is gone, and nobody is left to tell
                return
            raise


def main():
    """Serve until stdin closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    _limit_memory(int(sys.argv[1]))
    av.logging.set_level(None)
    sys.stdout.buffer.write(json.dumps({"decoder": DECODER}).encode() + b"\n")
    sys.stdout.buffer.flush()
    _serve(sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    main()

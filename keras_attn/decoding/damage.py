"""Problems of video files, and their remedies."""

import numpy as np

COPY_AGAIN = "copy or download it again from its source, or remove it"
_HUGE = 2**25  # pixels; FFmpeg's H.264 decoder calls the data invalid when memory runs out
_MEMORY = "allow more memory (memory_gib), or make the video smaller"
_DELAY = 4  # frames; reordering shifts the first one so much, a later start has lost its head
_UNEVEN = 0.1  # a constant rate has at most this share of intervals that are off by this share


class Problem(Exception):
    """A file cannot be used: a `kind` to count by, the details, and the remedy."""

    def __init__(self, kind: str, details: str, remedy: str = COPY_AGAIN):
        super().__init__(kind, details, remedy)

    @property
    def reason(self) -> str:
        """One line: `kind: details; remedy`."""
        kind, details, remedy = self.args
        return f"{kind}: {details}; {remedy}"


def explain(error: Exception, info: dict | None) -> str:
    """Describe an exception met while a file was read, with the frames decoded so far."""
    if isinstance(error, Problem):
        problem = error
    elif isinstance(error, MemoryError):
        problem = out_of_memory()
    elif isinstance(error, OSError) and not _from_ffmpeg(error):
        problem = Problem("unreadable", *_UNREADABLE.get(type(error), (brief(error), COPY_AGAIN)))
    else:
        problem = Problem("damaged", f"the decoder says {brief(error)}")
    kind, details, remedy = problem.args
    if kind == "damaged" and info:
        promised = f" of {info['promised']} promised" if info["promised"] else ""
        details = f"after {info['frames']}{promised} frames, {details}"
        if info["width"] * info["height"] > _HUGE:
            remedy += f"; frames of this size may also need more memory: {_MEMORY}"
    return Problem(kind, details, remedy).reason


_UNREADABLE = {
    FileNotFoundError: ("no such file", "correct the list, or restore the file"),
    PermissionError: ("permission denied", "make it readable: chmod u+r FILE"),
    IsADirectoryError: ("it is a folder", "name the video files themselves"),
}


def _from_ffmpeg(error):
    # PyAV derives its errors from Python's too: a lying header gives its PermissionError.
    return type(error).__module__.startswith("av.")


def out_of_memory() -> Problem:
    """The problem of a video that needs more memory than a worker may have."""
    return Problem(
        "out of memory",
        "decoding it needs more memory than a worker may have",
        _MEMORY,
    )


def brief(error: Exception) -> str:
    """The exception in a few words, on one line and without the path."""
    text = " ".join(str(getattr(error, "strerror", None) or error).split())
    return f"{type(error).__name__} ({text[:120]})"


def shortage(container, stream, times, hidden=0) -> tuple[int, Problem | None]:
    """How many frames the container promised, and a problem if the last of them did not come.

    MP4 and AVI store a count (`stream.frames`), and all but the `hidden` packets, which an edit
    list or a mark keeps from being shown, are to come. Matroska and others store a duration: what
    it leaves after the last frame is missing, and what it has before the first of all streams. A
    gap in between is not, since recorders lose frames. An index that was itself cut cannot be told
    from a shorter video.
    """
    if stream.frames:
        promised = _indexed(stream, len(times) + hidden) - hidden
        return promised, _short(promised, len(times), "its index promises")
    known = [time for time in times if time is not None]
    rate = float(stream.average_rate or 0)
    end = _end(container, stream, known)
    if not (end and rate and known):
        return 0, None
    steps = np.diff(known)
    steady = np.mean(abs(steps * rate - 1) > _UNEVEN) <= _UNEVEN if len(steps) else True
    # The last picture of a variable rate may stand as long as any before it.
    late = end - known[-1] - 1 / rate > (0.5 / rate if steady else max(steps))
    missing = round((end - known[-1]) * rate) - 1 if late else 0
    if not stream.duration and _starts(container, known[0]):
        missing += round(known[0] * rate) if known[0] * rate > _DELAY else 0
    promised = len(times) + missing
    return promised, _short(promised, len(times), "its duration promises")


def _short(promised, decoded, source):
    if decoded >= promised:
        return None
    return Problem("truncated", f"{source} {promised} frames, {decoded} could be decoded")


def _indexed(stream, packets):
    """The promised count less the packets that an MP4 edit list cuts away."""
    entries = len(stream.index_entries)
    return entries if packets == entries < stream.frames else stream.frames


def _starts(container, first):
    """Whether nothing in the file comes before its first frame; a cut can leave sound there."""
    return container.start_time is None or container.start_time / 1e6 > first - 1e-3


def _end(container, stream, known):
    """When the last frame should end, in seconds; 0 if the container does not say."""
    if stream.duration:  # counted from the first frame
        return float(stream.duration * stream.time_base) + (known[0] if known else 0.0)
    tag = stream.metadata.get("DURATION", "")  # Matroska, "00:00:01.200000000", counted from 0
    try:
        hours, minutes, seconds = tag.split(":")
        return 3600 * int(hours) + 60 * int(minutes) + float(seconds)
    except ValueError:
        pass
    only_one = len(container.streams) == 1  # else the duration can be that of the sound
    return container.duration / 1e6 if only_one and container.duration else 0.0

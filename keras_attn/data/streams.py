"""Streams: a model's input at each position of a video: frames, planes of flow, or both."""

import typing
from dataclasses import dataclass

from keras_attn.errors import UsageError

Input = typing.Literal["rgb", "flow", "warped_flow", "rgb_and_flow"]
FlowMethod = typing.Literal["tvl1", "dis", "farneback"]
INPUTS, FLOW_METHODS = typing.get_args(Input), typing.get_args(FlowMethod)


def flow_name(method: str, warped: bool) -> str:
    """The folder below DATA/flow: "tvl1", or "tvl1_warped" without the motion of the camera."""
    return f"{method}_warped" if warped else method


def in_graph(flow: dict | None) -> bool:
    """Whether flow of these settings, if any, can be computed in TensorFlow, without OpenCV."""
    return flow is None or (flow["method"] == "tvl1" and not flow["warped"])


@dataclass(frozen=True)
class Stream:
    """`snippet` consecutive frames or planes lie side by side in the channels.

    `input` is "rgb", "flow", "warped_flow" or "rgb_and_flow": one frame, then the planes from it
    on. The plane of a position is the motion from its frame to the next, x before y, as bytes.
    """

    input: Input = "rgb"
    flow_method: FlowMethod = "tvl1"
    snippet: int = 1

    def __post_init__(self):
        for name, known in (("input", INPUTS), ("flow_method", FLOW_METHODS)):
            if getattr(self, name) not in known:
                raise UsageError(
                    f"`{name}` must be one of {', '.join(known)}, got {getattr(self, name)!r}"
                )
        if self.snippet < 1:
            raise UsageError(f"`snippet` must be at least 1, got {self.snippet}")

    @property
    def reads_frames(self) -> bool:
        return self.input in ("rgb", "rgb_and_flow")

    @property
    def reads_flow(self) -> bool:
        return self.input != "rgb"

    @property
    def frames(self) -> int:
        """Frames at each position."""
        return {"rgb": self.snippet, "rgb_and_flow": 1}.get(self.input, 0)

    @property
    def planes(self) -> int:
        """Planes at each position, each of an x and a y."""
        return self.snippet if self.reads_flow else 0

    @property
    def channels(self) -> int:
        return 3 * self.frames + 2 * self.planes

    @property
    def flow_name(self) -> str:
        return flow_name(self.flow_method, self.input == "warped_flow")

    @property
    def suffix(self) -> str:
        """End of the name of a folder of features."""
        if not self.reads_flow:
            return ""
        return f"-{'rgb_' * self.reads_frames}{self.flow_name}-{self.snippet}"

    def positions(self, frames: int) -> int:
        """Positions in a video of `frames` frames: no plane follows the last one."""
        return frames - 1 if self.reads_flow else frames


RGB = Stream()

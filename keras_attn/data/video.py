"""A video that is ready to be read."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Video:
    """A video that is ready to be read: a record, or an array of features.

    `length` is the number of its positions; where flow is read, `flow` is the path of its planes.
    """

    id: str
    path: str
    length: int
    label: int
    flow: str = ""

"""Rows of manifests: classes of groups of clips."""

from keras_attn.datasets.tables import Row


def row(label, group, clip, content=None, form="mp4"):
    name = f"{label}/v_{label}_g{group:02d}_c{clip:02d}.{form}"
    digest = (content or name).encode().hex().ljust(64, "0")[:64]
    groups = f"{label}_g{group:02d}" if group else ""
    return Row(name, "/" + name, label, groups, 30, 30, 25.0, 4, 5, 6, digest, True)


def rows_of(classes=3, groups=8, clips=4):
    return [
        row("ABCDEFGH"[c], g, k)
        for c in range(classes)
        for g in range(1, groups + 1)
        for k in range(1, clips + 1 + (g + c) % 3)
    ]


def eleven_classes(groups=25):
    """Like UCF-11: groups of 4 to 10 clips."""
    return [
        row("ABCDEFGHIJK"[c], g, k)
        for c in range(11)
        for g in range(1, groups + 1)
        for k in range(4 + (g * (c + 3)) % 7)
    ]

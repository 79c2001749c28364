"""Find the videos in folders or list files, with their labels and groups."""

import dataclasses
import hashlib
import os
import re
import stat
import unicodedata
from pathlib import Path
from typing import NamedTuple

from keras_attn.datasets.lists import ClassFile, in_order, read_list, spellings
from keras_attn.datasets.tables import FORBIDDEN_IN_CLASS, read_lines
from keras_attn.errors import DataError, UsageError

# UCF-101 "v_Basketball_g07_c02" and UCF-11 "v_shooting_07_02": group, then clip.
UCF_NAME = re.compile(r"^v_.+_g?(\d+)_c?\d+$")
# Folders above those of the classes, as data sets that come with a split have them.
SUBSET_FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
# Names of folders and files that programs leave behind, apart from those that begin with a dot.
_LEFT_BEHIND = {"__MACOSX", "Thumbs.db", "desktop.ini"}


@dataclasses.dataclass(frozen=True)
class FoundFile:
    """A file that a search found; `reason` says why it cannot be used, known without opening it."""

    id: str
    path: str
    labels: tuple[str, ...] = ()
    group: str = ""
    reason: str = ""


def file_stem(video_id: str) -> str:
    """A file name for `video_id`: readable, plain ASCII, and different for different ids."""
    plain = unicodedata.normalize("NFKD", video_id).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^A-Za-z0-9]+", "-", plain.rpartition(".")[0] or plain).strip("-")
    digest = hashlib.sha1(video_id.encode("utf-8", "backslashreplace"), usedforsecurity=False)
    return f"{slug[:60].strip('-') or 'video'}-{digest.hexdigest()[:12]}"


def group_of(video_id: str, label: str, group_by: str = "auto") -> str:
    """The source that a clip was cut from, or "" if its name does not tell.

    `group_by` is "auto" (UCF names: `v_Class_g07_c02` is of group 7 of its class), "parent" (the
    folder that holds the file) or a regular expression with one group, searched in the id.
    """
    parent, _, name = video_id.rpartition("/")
    if group_by == "parent":
        return parent
    if group_by == "auto":
        found = UCF_NAME.match(name.rpartition(".")[0] or name)
        return f"{label}_g{found[1]}" if found else ""
    found = group_pattern(group_by).search(video_id)
    return (found[1] or "") if found else ""


def group_pattern(text: str) -> re.Pattern:
    """The compiled regular expression; `UsageError` unless it has exactly one group."""
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise UsageError(f"`group_by` {text!r} is not a regular expression: {error}") from None
    if pattern.groups != 1:
        raise UsageError(
            f"`group_by` {text!r} has {pattern.groups} groups, expected one: put parentheses "
            "around what clips of the same source have in common, as in '(subject[0-9]+)_'"
        )
    return pattern


class Found(NamedTuple):
    """The files of a search in a fixed order, the class names, and what is to be told of them."""

    files: list[FoundFile]
    names: list[str]
    notes: tuple[str, ...]


def find_files(
    root, classes: ClassFile | None = None, group_by: str = "auto", merge_names: bool = False
) -> Found:
    """Find the files of a folder with one folder per class, of a list file or of a CSV file.

    Every file below a folder is listed, but for hidden ones and what archives and file managers
    leave behind; one that is in no class or cannot be opened carries a reason. `classes` fixes the
    names and their order; without it they are the sorted names found. `merge_names` makes one class
    of names that differ only in blanks and case.
    """
    if group_by not in ("auto", "parent"):
        group_pattern(group_by)
    root = Path(os.path.abspath(root))
    if _unencodable(str(root)):
        raise UsageError(f"{str(root)!r} is not valid UTF-8; rename the folder")
    if not root.exists():
        raise UsageError(f"{root}: no such file or folder. Name the folder that holds the classes")
    find = _from_folder if root.is_dir() else _from_list
    return _spelled(Found(*find(root, classes, group_by)), classes, merge_names)


def _spelled(found, classes, merge):
    """The files with one spelling of each name, if that is wanted; else a note."""
    spelled = spellings(found.names)
    alike = [name for name in found.names if spelled[name] != name]
    if classes or not alike:
        return found
    pairs = ", ".join(f"{name!r} and {spelled[name]!r}" for name in alike)
    if not merge:
        note = f"classes differ only in blanks or case: {pairs}; merge them with `merge_names`"
        return found._replace(notes=(*found.notes, note))
    files = [
        dataclasses.replace(file, labels=tuple(dict.fromkeys(spelled[x] for x in file.labels)))
        for file in found.files
    ]
    names = [name for name in found.names if name not in alike]
    return Found(files, names, (*found.notes, f"merged classes: {pairs}"))


def _from_folder(root, classes, group_by):
    hidden = []
    listed = sorted(_walk(root, root, set(), hidden))
    above = _subset_folders(name for name, reason in listed if not reason)
    known = classes and classes.names
    names = known or in_order({_class(name, above) for name, reason in listed} - {None})
    found = []
    for name, reason in listed:
        label = _class(name, above)
        reason = reason or _unfit(name, label, names)
        labels = (label,) if label in names else ()
        group = group_of(name, label, group_by) if labels else ""
        # Only a name that is not UTF-8, which has a reason, differs from what is written of it.
        name, path = (
            text.encode("utf-8", "backslashreplace").decode()
            for text in (name, os.path.join(root, name))
        )
        found.append(FoundFile(name, path, labels, group, reason))
    notes = [f"{', '.join(above)} are subsets, which split takes as they are"] if above else []
    return found, list(names), (*notes, *_left_out(hidden))


def _subset_folders(names):
    """The folders at the top, if all of them are subsets with a folder for each class."""
    parts = [name.split("/") for name in names]
    above = sorted({part[0] for part in parts})
    subsets = {SUBSET_FOLDERS.get(name.casefold()) for name in above}
    deep = all(len(part) > 2 for part in parts)
    return above if deep and len(above) > 1 and len(subsets - {None}) == len(above) else []


def subsets_of_folders(rows) -> dict[str, str]:
    """The subset of each id, where the rows of a manifest lie in SUBSET/CLASS; {} where not all."""
    subsets = {}
    for row in rows:
        above, _, rest = row.id.partition("/")
        label = rest.partition("/")[0]
        if above.casefold() not in SUBSET_FOLDERS or (label,) != row.names:
            return {}
        subsets[row.id] = SUBSET_FOLDERS[above.casefold()]
    return subsets


def _left_out(hidden):
    if not hidden:
        return ()
    kinds = ", ".join(sorted(set(hidden))[:5])
    return (f"{len(hidden)} hidden files or folders were left out: {kinds}",)


def _class(name, above=()):
    """The class that a file's folder names: the first one, or the one below a subset's."""
    first, _, rest = name.partition("/")
    label, slash, _ = (rest if first in above else name).partition("/")
    bad = any(character in label for character in FORBIDDEN_IN_CLASS) or _unencodable(label)
    return label if slash and not bad else None


def _unfit(name, label, names):
    if _unencodable(name):
        return "bad name: the file name is not valid UTF-8; rename the file"
    if "/" not in name:
        return "no class: the file is not in the folder of a class; move it into one, or remove it"
    if label is None:
        folder = name.rpartition("/")[0]
        return f"bad name: {folder!r} holds a character that a class name cannot; rename the folder"
    if label not in names:
        return f"no class: {label!r} is not in the class file; add it there, or remove the folder"
    return ""


def _unencodable(name):
    return any("\ud800" <= character <= "\udfff" for character in name)


def _walk(root, folder, seen, hidden):
    """Names below `root` of every file, with the reason why it cannot be opened, if any.

    The names of those that are left out are appended to `hidden`.
    """
    place = os.stat(folder)
    if (place.st_dev, place.st_ino) in seen:
        yield _name(root, folder), "unreadable: a link to a folder already listed; remove it"
        return
    seen.add((place.st_dev, place.st_ino))
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        yield _name(root, folder) + "/", f"unreadable: {error.strerror}; make the folder readable"
        return
    for entry in entries:
        if entry.name.startswith(".") or entry.name in _LEFT_BEHIND:
            hidden.append(entry.name.encode("utf-8", "backslashreplace").decode())
        elif os.path.isdir(entry.path):  # also where a link leads to itself
            yield from _walk(root, entry.path, seen, hidden)
        else:
            yield _name(root, entry.path), _obstacle(entry.path)


def _name(root, path):
    return os.path.relpath(path, root).replace(os.sep, "/")


def _obstacle(path):
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        return f"unreadable: {error.strerror}; restore the file, or remove the name"
    if stat.S_ISREG(mode):
        return ""
    return "unreadable: it is not a regular file (a pipe, a socket or a device); remove it"


def read_official(folder: Path, number: int) -> dict[str, str]:
    """`train` or `test` for the `official_key` of each line of UCF-101's lists `number`."""
    listed = {}
    for subset in ("train", "test"):
        path = folder / f"{subset}list{number:02d}.txt"
        for line in read_lines(path, "Name the folder of the official lists"):
            key = official_key(line.strip())
            if key and listed.setdefault(key, subset) != subset:
                raise DataError(f"{path}: {line.strip()} is in the training list too")
    return listed


def official_key(name: str) -> str:
    """`class/v_name` of a list's `Class/v_Name.avi 1`: without extension and in lower case.

    The lists say `.avi`, and the class HandstandPushups has files `v_HandStandPushups_...`.
    """
    head, slash, last = name.rpartition("/")
    return f"{head}{slash}{last.rpartition('.')[0] or last}".casefold()


def _from_list(root, classes, group_by):
    rows, names = read_list(root, classes)
    found = []
    for row in rows:
        path = os.path.normpath(root.parent / row.path)
        name = _name(root.parent, path)
        group = row.group or group_of(name, row.labels[0], group_by)
        reason = "" if os.path.isdir(path) else _obstacle(path)
        if os.path.isdir(path):
            reason = "unreadable: it is a folder; list video files, not folders of frames"
        found.append(FoundFile(name, path, row.labels, group, reason))
    return found, names, ()

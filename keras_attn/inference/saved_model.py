"""The folders of a SavedModel: a model folder holds one folder per version."""

from pathlib import Path

from keras_attn.errors import UserError


def versions(model_folder) -> list[int]:
    """The version numbers in a model folder; none if there is no such folder."""
    path = Path(model_folder)
    names = [entry.name for entry in path.iterdir()] if path.is_dir() else []
    return [int(name) for name in names if name.isdecimal()]


def version_folder(saved_model) -> Path:
    """The folder that holds `saved_model.pb`: the one given, or its highest version."""
    path = Path(saved_model)
    numbers = versions(path)
    folder = path / str(max(numbers)) if numbers else path
    if not (folder / "saved_model.pb").exists():
        raise UserError(f"{path}: holds no SavedModel (no saved_model.pb, no version folder)")
    return folder

"""The Python of the page on plain Keras runs."""

import re
import runpy
from pathlib import Path

from checks import BACKEND

# Blocks that need TensorFlow itself.
TENSORFLOW = re.compile(r"\btf\.|\.export\(")


def test_the_python_of_the_page_runs(tmp_path, monkeypatch):
    page = Path(__file__).parents[2] / "docs" / "plain_keras.md"
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.S)
    assert len(blocks) == 5
    blocks = [block for block in blocks if BACKEND == "tensorflow" or not TENSORFLOW.search(block)]
    assert len(blocks) >= 3
    monkeypatch.chdir(tmp_path)
    (tmp_path / "page.py").write_text("\n".join(blocks), encoding="utf-8")
    runpy.run_path(str(tmp_path / "page.py"))

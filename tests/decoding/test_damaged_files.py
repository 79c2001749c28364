"""Damaged files of many kinds: no crash, no hang, nothing lost without a word."""

import damage
import numpy as np
import pytest

from keras_attn.datasets import tables
from keras_attn.datasets.scanning import scan


@pytest.fixture(scope="module")
def made():
    return damage.cases()


@pytest.fixture(scope="module")
def scanned(made, tmp_path_factory):
    """The summary and the rows of one scan over all damaged files."""
    place = tmp_path_factory.mktemp("damaged")
    summary = scan(damage.write(place / "videos", made), place / "data", workers=2, timeout=20)
    return summary, {row.id: row for row in tables.read_manifest(place / "data")}, place


def test_there_are_enough_kinds(made):
    assert len(made) >= 100
    assert len({case.kind.rstrip("0123456789.-e") for case in made}) >= 15


def test_every_file_is_a_row_and_the_sums_add_up(made, scanned):
    summary, rows, _ = scanned
    assert summary.found == len(made) == len(rows)
    assert summary.found == summary.usable + sum(summary.unusable.values())
    assert summary.usable == sum(row.usable for row in rows.values())
    assert "too slow" not in summary.unusable and "decoder crashed" not in summary.unusable


def test_the_verdict_on_each_file_is_right(made, scanned):
    _, rows, _ = scanned
    for number, case in enumerate(made):
        row = rows[damage.id_of(number, case)]
        if case.usable is not None:
            assert row.usable == case.usable, row
        if case.usable:
            assert row.frames == case.frames, row
        if row.usable:
            assert row.frames >= case.frames, row  # nothing is lost silently


def test_every_refusal_says_what_and_what_to_do(scanned):
    summary, rows, _ = scanned
    for row in rows.values():
        assert bool(row.reason) != row.usable
        if not row.usable:
            kind, _, rest = row.reason.partition(": ")
            details, _, remedy = rest.partition("; ")
            assert kind and details and remedy and "\n" not in row.reason
            assert any(row.id in line for line in summary.problems)


def test_a_cut_file_is_refused_with_the_numbers(scanned):
    _, rows, _ = scanned
    cut = [row for row in rows.values() if "truncated50" in row.id and row.frames]
    assert len(cut) == 4
    for row in cut:
        assert 0 < row.frames < row.promised == damage.FRAMES
        assert f"{row.frames}" in row.reason and f"{row.promised}" in row.reason


def test_the_number_of_workers_changes_nothing(scanned):
    _, _, place = scanned
    scan(place / "videos", place / "again", workers=1, timeout=20)
    again = (place / "again" / "manifest.csv").read_text()
    assert again == (place / "data" / "manifest.csv").read_text()


def test_many_random_flips_are_survived(sources, folder, tmp_path):
    random = np.random.default_rng(11)
    files = {"Good/a.avi": sources["part.avi"]}
    for number in range(60):
        name, data = list(sources.items())[number % 5]
        content = bytearray(data)
        # Not in the first bytes: a header that lost entries is the header of a shorter video.
        for bit in random.integers(8 * 2000, 8 * len(data), 1 + number // 4):
            content[bit // 8] ^= 1 << (bit % 8)
        files[f"Bad/{number}-{name}"] = bytes(content)
    summary = scan(folder(files), tmp_path / "data", workers=2, timeout=20)
    assert summary.found == 61 == summary.usable + sum(summary.unusable.values())
    rows = tables.read_manifest(tmp_path / "data")
    short = [row for row in rows if row.usable and row.frames < damage.FRAMES]
    assert not short


def test_single_wrong_bits_in_pictures_are_refused_where_the_decoder_notices(
    sources, folder, tmp_path
):
    # FFmpeg hides such faults unless it is told not to; about half of them no decoder can notice.
    random = np.random.default_rng(3)
    files = {"Good/a.avi": sources["part.avi"]}
    for number in range(40):
        name = ("front.mp4", "part.avi")[number % 2]
        content = bytearray(sources[name])
        bit = random.integers(8 * 2000, 8 * (len(content) - 1000))
        content[bit // 8] ^= 1 << (bit % 8)
        files[f"Bad/{number}-{name}"] = bytes(content)
    summary = scan(folder(files), tmp_path / "data", workers=2)
    assert summary.unusable["damaged"] >= 10

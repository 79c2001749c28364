"""Flow as bytes and as .flo files."""

import numpy as np
import pytest
from checks import compiled, numpy

from keras_attn.errors import DataError, UserError
from keras_attn.flow import codec

LEVEL = 40 / 255  # pixels between two bytes


def test_the_bound_and_zero_have_their_bytes():
    flow = np.array([-1e9, -20.01, -20, 0, 20, 20.01, np.inf], "float32")
    bytes_ = np.asarray(codec.to_bytes(flow))
    assert bytes_.dtype == np.uint8
    assert bytes_.tolist() == [0, 0, 0, 128, 255, 255, 255]


def test_bytes_grow_with_the_flow_and_are_off_by_half_a_level_at_most():
    flow = np.linspace(-20, 20, 9999, dtype="float32").reshape(3, 3333, 1)
    bytes_ = np.asarray(codec.to_bytes(flow)).reshape(-1).astype(int)
    assert set(np.diff(bytes_)) == {0, 1} and set(bytes_) == set(range(256))
    error = np.abs(numpy(codec.from_bytes(codec.to_bytes(flow))) - flow)
    assert error.max() <= 40 / 510 + 1e-5
    assert error.max() > 0.99 * 40 / 510


def test_every_byte_returns():
    bytes_ = np.arange(256, dtype="uint8")
    flow = codec.from_bytes(bytes_)
    np.testing.assert_allclose(numpy(flow), -20 + LEVEL * np.arange(256), atol=1e-5)
    np.testing.assert_array_equal(codec.to_bytes(flow), bytes_)


def test_halves_go_to_the_even_byte():
    flow = np.array([-16, -8, 0, 8, 16], "float32")  # bytes 25.5, 76.5, 127.5, 178.5, 229.5
    assert np.asarray(codec.to_bytes(flow)).tolist() == [26, 76, 128, 178, 230]


def test_a_flip_mirrors_and_inverts_x_only(rng):
    planes = rng.integers(0, 256, (2, 3, 5, 4), dtype="uint8")  # x, y, x, y
    flipped = np.asarray(codec.flip(planes))
    assert flipped.dtype == np.uint8
    for b, i, j, c in np.ndindex(planes.shape):
        source = planes[b, i, 4 - j, c]
        assert flipped[b, i, j, c] == (source if c % 2 else 255 - source)
    np.testing.assert_array_equal(np.asarray(compiled(codec.flip)(planes)), flipped)


def test_a_flip_is_that_of_the_flow_up_to_one_level(rng):
    flow = rng.uniform(-19, 19, (3, 4, 5, 2)).astype("float32")
    mirrored = flow[:, :, ::-1] * [-1, 1]
    planes = codec.to_bytes(flow)
    error = np.asarray(codec.flip(planes), int) - np.asarray(codec.to_bytes(mirrored), int)
    assert np.abs(error).max() <= 1
    np.testing.assert_array_equal(codec.flip(codec.flip(planes)), planes)
    still = np.full((2, 3, 2), 128, "uint8")
    assert np.asarray(codec.flip(still))[0, 0].tolist() == [127, 128]


def test_a_flip_along_another_axis(rng):
    planes = rng.integers(0, 256, (4, 3, 5, 2), dtype="uint8")
    moved = np.asarray(codec.flip(np.swapaxes(planes, 1, 2), axis=1))
    np.testing.assert_array_equal(np.swapaxes(moved, 1, 2), codec.flip(planes))


def test_flo_files_return_what_was_written(rng, tmp_path):
    flow = rng.normal(size=(3, 5, 2)).astype("float32")
    codec.write_flo(tmp_path / "new" / "a.flo", flow)
    found = codec.read_flo(tmp_path / "new" / "a.flo")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, flow)
    found += 1  # it may be written to
    data = (tmp_path / "new" / "a.flo").read_bytes()
    assert data[:12] == b"PIEH\x05\0\0\0\x03\0\0\0" and len(data) == 12 + 4 * 30
    assert data[12:20] == flow[0, 0].tobytes()  # x, then y, row after row
    with pytest.raises(ValueError, match=r"\(H, W, 2\), got \(2, 3, 5\)"):
        codec.write_flo(tmp_path / "b.flo", np.zeros((2, 3, 5)))


def test_a_flo_file_is_whole_or_absent(rng, tmp_path, monkeypatch):
    flow = rng.normal(size=(3, 5, 2)).astype("float32")
    codec.write_flo(tmp_path / "a.flo", flow)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(UserError, match=r"a\.flo: could not be written"):
        codec.write_flo(tmp_path / "a.flo", flow + 1)
    assert [path.name for path in tmp_path.iterdir()] == ["a.flo"]
    np.testing.assert_array_equal(codec.read_flo(tmp_path / "a.flo"), flow)


HEADER = b"PIEH\x05\0\0\0\x03\0\0\0"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (HEADER[:11], "11 bytes, and the header"),
        (b"P6\n5 3\n255\n " + bytes(120), "begins with b'P6"),
        (HEADER + bytes(119), "131 bytes, expected 132"),
        (HEADER + bytes(121), "133 bytes, expected 132"),
        (b"PIEH\xff\xff\xff\xff\x03\0\0\0", "says -1 x 3"),
        (b"PIEH\xff\xff\xff\x7f\xff\xff\xff\x7f", "says 2147483647 x"),
    ],
)
def test_a_damaged_flo_file_is_named(tmp_path, data, message):
    (tmp_path / "bad.flo").write_bytes(data)
    with pytest.raises(DataError, match=f"bad.flo: .*{message}"):
        codec.read_flo(tmp_path / "bad.flo")


def test_a_missing_flo_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"no\.flo: could not be read \(No such file"):
        codec.read_flo(tmp_path / "no.flo")

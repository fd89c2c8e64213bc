from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reenact_zoo.types import InputError
from reenact_zoo.video.images import frame_paths, image_size, natural_key
from reenact_zoo.video.read import read_image


def quarters() -> np.ndarray:
    image = np.zeros((6, 8, 3), np.uint8)
    image[:3, :4], image[:3, 4:], image[3:, :4] = (250, 10, 10), (10, 250, 10), (10, 10, 250)
    return image


def test_transparency_lies_over_mid_grey(tmp_path: Path) -> None:
    rgba = np.dstack([quarters(), np.full((6, 8), 255, np.uint8)])
    rgba[0, 0, 3], rgba[0, 1, 3] = 0, 128
    Image.fromarray(rgba).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert image.shape == (6, 8, 3)
    assert tuple(image[0, 0]) == (128, 128, 128)
    np.testing.assert_allclose(image[0, 1], (189, 69, 69), atol=1)  # half of 250 and 10 over 128
    np.testing.assert_array_equal(image[1:], quarters()[1:])


def test_palette_transparency_and_grey_alpha(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 1]], np.uint8), mode=None).convert("P").save(tmp_path / "p.png", transparency=0)
    assert tuple(read_image(tmp_path / "p.png")[0, 0]) == (128, 128, 128)
    Image.fromarray(np.array([[[10, 255], [10, 0]]], np.uint8), mode=None).save(tmp_path / "la.png")
    np.testing.assert_array_equal(read_image(tmp_path / "la.png")[0], [[10] * 3, [128] * 3])


def test_grey_is_repeated_and_sixteen_bits_are_scaled(tmp_path: Path) -> None:
    Image.fromarray(np.array([[7, 200]], np.uint8)).save(tmp_path / "l.png")
    np.testing.assert_array_equal(read_image(tmp_path / "l.png"), [[[7] * 3, [200] * 3]])
    Image.fromarray(np.array([[0, 32896, 65535]], np.uint16)).save(tmp_path / "l16.png")
    np.testing.assert_array_equal(read_image(tmp_path / "l16.png")[0, :, 0], [0, 128, 255])


def test_cmyk_jpeg_becomes_rgb(tmp_path: Path) -> None:
    Image.fromarray(quarters()).resize((64, 48), 0).convert("CMYK").save(tmp_path / "c.jpg", quality=98)
    image = read_image(tmp_path / "c.jpg")
    expected = np.asarray(Image.fromarray(quarters()).resize((64, 48), 0))
    assert image.shape == (48, 64, 3)
    assert np.abs(image.astype(int) - expected).mean() < 6  # JPEG at the borders of the quarters


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(tmp_path: Path, orientation: int) -> None:
    stored = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }[orientation](quarters())
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "o.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "o.png"), quarters())
    assert image_size(tmp_path / "o.png") == (8, 6)


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (7680, 4320)], ids=str)
def test_small_and_8k_images_keep_their_size(tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("RGB", size, (1, 2, 3)).save(tmp_path / "s.png", compress_level=1)
    image = read_image(tmp_path / "s.png")
    assert image.shape == (size[1], size[0], 3)
    assert tuple(image[-1, -1]) == (1, 2, 3)


def test_bad_images_are_one_line(tmp_path: Path) -> None:
    good = tmp_path / "good.jpg"
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(good)
    Image.fromarray(noise).save(tmp_path / "good.png")
    for name, data, says in [
        ("empty.png", b"", "empty"),
        ("text.png", b"hello" * 50, "not an image"),
        ("half.jpg", good.read_bytes()[:1500], "truncated"),
        ("half.png", (tmp_path / "good.png").read_bytes()[:1500], "truncated"),
    ]:
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=says) as error:
            read_image(tmp_path / name)
        assert "\n" not in str(error.value)
        assert name in str(error.value)
    with pytest.raises(InputError, match="is a folder"):
        read_image(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        read_image(tmp_path / "nowhere.png")


def test_a_pixel_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (100, 100)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4000)
    with pytest.raises(InputError, match="too many pixels"):
        read_image(tmp_path / "bomb.png")


def test_frames_sort_as_people_count(tmp_path: Path) -> None:
    names = ["f10.png", "f9.png", "F1.PNG", "f09.png", "b2x10.jpeg", "b2x9.jpeg"]
    assert sorted(names, key=natural_key) == ["b2x9.jpeg", "b2x10.jpeg", "F1.PNG", "f09.png", "f9.png", "f10.png"]
    for name in [*names, ".hidden.png", "readme.txt"]:
        (tmp_path / name).touch()
    assert len(frame_paths(tmp_path)) == len(names)

from __future__ import annotations

import pickle
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from reenact_zoo.types import InputError
from reenact_zoo.video.read import RandomAccessVideo, open_frames, read_frames
from reenact_zoo.video.write import write_image


def one_line(error: pytest.ExceptionInfo[InputError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 400
    return text


def test_frames_come_in_order_with_exact_times(clips: Any) -> None:
    source = open_frames(clips.make(frames=40, rate=Fraction(24000, 1001)))
    assert source.info.frame_rate == Fraction(24000, 1001)
    assert (source.info.width, source.info.height, source.info.num_frames) == (64, 48, 40)
    assert not source.info.variable_rate
    assert not source.info.has_audio
    assert source.info.duration_s == pytest.approx(40 * 1001 / 24000, abs=1e-9)
    for _ in range(2):  # a second pass starts again
        frames = list(source)
        assert [clips.number_of(f.image) for f in frames] == list(range(40))
        assert [f.index for f in frames] == list(range(40))
        assert [f.time for f in frames] == [Fraction(1001 * i, 24000) for i in range(40)]


def test_milliseconds_of_matroska_do_not_make_the_rate_variable(clips: Any) -> None:
    for rate in (Fraction(30), Fraction(24000, 1001), Fraction(60000, 1001)):
        info = open_frames(clips.make("clip.mkv", rate=rate, frames=100)).info
        assert info.time_base == Fraction(1, 1000)
        assert not info.variable_rate
        assert info.frame_rate == rate


def test_variable_rate_is_seen_and_keeps_its_times(clips: Any) -> None:
    steps = [Fraction(1, 30), Fraction(1, 15), Fraction(1, 30), Fraction(1, 10)] * 5
    times = [sum(steps[:i], Fraction(0)) for i in range(20)]
    source = open_frames(clips.make(frames=20, times=times))
    assert source.info.variable_rate
    assert [f.time for f in source] == times


def test_random_access_equals_streaming(clips: Any) -> None:
    # 200 frames hold several key frames only if the encoder places them; the changing stripes make it do so
    path = clips.make(frames=200)
    with RandomAccessVideo(path, cache_frames=2) as video:
        assert len(video) == 200
        for index in [150, 3, 4, 5, 4, 199, 0, 151, 10, 60, 59, 61, 198]:
            assert clips.number_of(video.frame(index)) == index


def test_random_access_agrees_with_streaming_on_real_clips(real_clips: Path) -> None:
    for name in ("WolfgangLanger_Pexels.mp4", "d18.mp4"):
        wanted = [7, 180, 181, 60, 0, 179]
        streamed = {f.index: f.image for f in open_frames(real_clips / name) if f.index in wanted}
        for index, image in zip(wanted, read_frames(real_clips / name, wanted)):
            np.testing.assert_array_equal(image, streamed[index])


def test_random_access_finds_frames_before_a_late_key_frame(tmp_path: Path, clips: Any) -> None:
    # key frames every 12 with 3 B-frames: decoding time runs ahead, a plain seek overshoots
    path = tmp_path / "b.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            "libx264", rate=25, options={"g": "12", "bf": "3", "sc_threshold": "0", "crf": "10"}
        )
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(60):
            frame = av.VideoFrame.from_ndarray(clips.numbered(index), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with RandomAccessVideo(path, cache_frames=1) as video:
        for index in [59, 11, 12, 47, 23, 35, 36, 10, 13, 0]:
            assert clips.number_of(video.frame(index)) == index


def test_random_access_counts_where_there_are_no_times(tmp_path: Path, clips: Any) -> None:
    path = tmp_path / "raw.h264"
    with av.open(str(path), "w", format="h264") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(20):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(clips.numbered(index), format="rgb24")))
        container.mux(stream.encode(None))
    assert open_frames(path).info.num_frames is None
    with RandomAccessVideo(path, cache_frames=1) as video:
        for index in [5, 6, 2, 19, 0]:
            assert clips.number_of(video.frame(index)) == index


def test_cache_is_bounded_and_pickles_empty(clips: Any) -> None:
    video = RandomAccessVideo(clips.make(), cache_frames=3)
    for index in range(10):
        video.frame(index)
    assert len(video._cache) == 3
    copy = pickle.loads(pickle.dumps(video))
    assert not copy._cache
    assert clips.number_of(copy.frame(17)) == 17


def test_frame_outside_says_the_range(clips: Any) -> None:
    path = clips.make(frames=5)
    for index in (5, -1):
        with pytest.raises(InputError, match="0 to 4") as error:
            read_frames(path, [index])
        one_line(error)


@pytest.mark.parametrize(
    ("degrees", "hflip"), [(90, False), (180, False), (-90, False), (0, True), (90, True)], ids=str
)
def test_rotation_metadata_is_applied(tmp_path: Path, degrees: int, hflip: bool) -> None:
    upright = np.zeros((48, 64, 3), np.uint8)
    upright[:24, :32] = (250, 0, 0)  # quarters: red green / blue white
    upright[:24, 32:] = (0, 250, 0)
    upright[24:, :32] = (0, 0, 250)
    upright[24:, 32:] = 250
    path = tmp_path / "turned.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "5"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.set_display_rotation(degrees, hflip=hflip)
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(upright, format="rgb24")))
        container.mux(stream.encode(None))
    expected = np.rot90(upright, degrees // 90)  # counter-clockwise, then the mirror
    expected = expected[:, ::-1] if hflip else expected
    source = open_frames(path)
    assert (source.info.height, source.info.width) == expected.shape[:2]
    image = next(iter(source)).image
    assert np.abs(image.astype(int) - expected).mean() < 8  # 4:2:0 chroma bleeds at the borders of the quarters
    np.testing.assert_array_equal(RandomAccessVideo(path).frame(0), image)


def test_anamorphic_video_gets_square_pixels(tmp_path: Path, clips: Any) -> None:
    path = tmp_path / "wide.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        for index in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(clips.numbered(index), format="rgb24")))
        container.mux(stream.encode(None))
    assert open_frames(path).info.width == 85
    assert next(iter(open_frames(path))).image.shape == (48, 85, 3)


def test_declared_colour_matrices_are_honoured(tmp_path: Path) -> None:
    colour = (200, 60, 30)
    for matrix in (1, 5):  # BT.709, BT.601
        path = tmp_path / f"{matrix}.mp4"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=25, options={"crf": "1"})
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            stream.codec_context.colorspace = matrix
            image = np.full((48, 64, 3), colour, np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            container.mux(stream.encode(frame.reformat(format="yuv420p", dst_colorspace=matrix, dst_color_range=1)))
            container.mux(stream.encode(None))
        found = next(iter(open_frames(path))).image[24, 32]
        np.testing.assert_allclose(found, colour, atol=3)  # 8-bit limited range rounds each of three steps


def test_folder_is_read_in_natural_order_at_25_fps(tmp_path: Path, clips: Any) -> None:
    for index in (10, 9, 1, 2):
        write_image(tmp_path / f"frame{index}.png", clips.numbered(index))
    (tmp_path / "notes.txt").write_text("not a frame")
    source = open_frames(tmp_path)
    assert source.info.kind == "frames"
    assert source.info.frame_rate == 25
    assert [clips.number_of(f.image) for f in source] == [1, 2, 9, 10]
    assert [f.time for f in source] == [Fraction(i, 25) for i in range(4)]
    assert clips.number_of(RandomAccessVideo(tmp_path).frame(3)) == 10


def test_folder_with_two_sizes_names_the_frame(tmp_path: Path, clips: Any) -> None:
    write_image(tmp_path / "a.png", clips.numbered(0))
    write_image(tmp_path / "b.png", clips.numbered(0, width=128))
    with pytest.raises(InputError, match=r"b\.png.*128x48.*64x48") as error:
        list(open_frames(tmp_path))
    one_line(error)


def test_still_image_is_a_source_of_one_frame(tmp_path: Path, clips: Any) -> None:
    write_image(tmp_path / "face.png", clips.numbered(77))
    source = open_frames(tmp_path / "face.png")
    assert source.info.kind == "image"
    assert [clips.number_of(f.image) for f in source] == [77]
    assert len(RandomAccessVideo(tmp_path / "face.png")) == 1


def _missing(folder: Path, clips: Any) -> Path:
    return folder / "nowhere.mp4"


def _text(folder: Path, clips: Any) -> Path:
    path = folder / "text.mp4"
    path.write_text("this is no video\n" * 100)
    return path


def _playlist(folder: Path, clips: Any) -> Path:
    clips.make()
    path = folder / "list.mp4"
    path.write_text("ffconcat version 1.0\nfile clip.mp4\n")
    return path


def _empty(folder: Path, clips: Any) -> Path:
    path = folder / "empty.mp4"
    path.touch()
    return path


def _sound_only(folder: Path, clips: Any) -> Path:
    path = folder / "sound.m4a"
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=44100)
        stream.codec_context.layout = "mono"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.int16), format="s16", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def _truncated_end(folder: Path, clips: Any) -> Path:
    """The index stands in front (fast start), half of the pictures are missing."""
    data = clips.make(frames=100).read_bytes()
    path = folder / "half.mp4"
    path.write_bytes(data[: len(data) * 6 // 10])
    return path


def _truncated_index(folder: Path, clips: Any) -> Path:
    """The index would stand behind the pictures and is missing."""
    clips.make(frames=50)
    late = folder / "late.mp4"
    with av.open(str(folder / "clip.mp4")) as source, av.open(str(late), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.size:
                packet.stream = copy
                target.mux(packet)
    late.write_bytes(late.read_bytes()[:-200])
    return late


def _zero_frames(folder: Path, clips: Any) -> Path:
    path = folder / "zero.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
    return path


def _folder_without_frames(folder: Path, clips: Any) -> Path:
    (folder / "nothing").mkdir()
    return folder / "nothing"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (_missing, "no such file"),
        (_text, "not a video"),
        (_playlist, "not a video"),
        (_empty, "empty"),
        (_sound_only, "no pictures"),
        (_truncated_end, "truncated"),
        (_truncated_index, "truncated"),
        (_zero_frames, "no frames"),
        (_folder_without_frames, "no PNG or JPEG frames"),
    ],
)
def test_bad_input_is_one_line(make: object, says: str, tmp_path: Path, clips: Any) -> None:
    path = make(tmp_path, clips)  # type: ignore[operator]
    for opener in (open_frames, RandomAccessVideo):
        with pytest.raises(InputError, match=says) as error:
            opener(path)
        assert str(path) in one_line(error)


def test_damage_in_the_middle_names_the_frame(clips: Any, tmp_path: Path) -> None:
    path = clips.make(frames=60)
    with av.open(str(path)) as container:
        entry = container.streams.video[0].index_entries[30]
    data = bytearray(path.read_bytes())
    data[entry.pos : entry.pos + entry.size] = b"\xff" * entry.size
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"damaged after \d+ frames") as error:
        list(open_frames(path))
    one_line(error)
    with pytest.raises(InputError, match=r"damaged near frame \d+"):
        read_frames(path, range(60))


def test_name_with_a_colon_and_umlauts_is_a_file(clips: Any, tmp_path: Path) -> None:
    path = clips.make().rename(tmp_path / "http:grüße 50%d.mp4")
    assert open_frames(path).info.num_frames == 30


def test_image_files_are_not_tried_as_video(tmp_path: Path) -> None:
    Image.new("RGB", (20, 10)).save(tmp_path / "x.webp")
    assert open_frames(tmp_path / "x.webp").info.width == 20

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
import pytest
from PIL import Image

from reenact_zoo.types import InputError
from reenact_zoo.video import write
from reenact_zoo.video.read import open_frames, read_image
from reenact_zoo.video.write import FrameFolderWriter, VideoWriter, read_metadata, write_image, write_text

GREY = np.full((48, 64, 3), 120, np.uint8)


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def sound(path: Path) -> tuple[str, float, list[bytes]]:
    """Codec, end in seconds, and the packets of the first sound track."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        packets = [p for p in container.demux(stream) if p.size]
        end = max((p.pts + p.duration) * p.time_base for p in packets)
        return stream.codec_context.name, float(end), [bytes(p) for p in packets]


def loudness(path: Path, begin: float, end: float) -> float:
    """Root mean square of the sound between two times, in seconds since the first picture."""
    with av.open(str(path)) as container:
        start = next(container.decode(video=0)).time
    total = []
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            samples = frame.to_ndarray().astype(np.float64)
            times = frame.time - start + np.arange(samples.shape[-1]) / frame.sample_rate
            total.append(samples[0][(times >= begin) & (times < end)])
    return float(np.sqrt(np.mean(np.concatenate(total) ** 2)))


def rewrite(source: Path, target: Path, frames: int | None = None) -> Path:
    opened = open_frames(source)
    info = opened.info
    base = info.time_base if info.variable_rate else None
    with VideoWriter(target, info.frame_rate, (info.width, info.height), audio_from=source, time_base=base) as writer:
        for frame in opened:
            if frame.index == frames:
                break
            writer.write(frame.image, frame.time)
    return target


@pytest.mark.parametrize("rate", [Fraction(24000, 1001), Fraction(30000, 1001), Fraction(25), Fraction(12, 5)], ids=str)
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".m4v"])
def test_frame_rate_survives_exactly(tmp_path: Path, rate: Fraction, suffix: str, clips: Any) -> None:
    path = clips.make("rate" + suffix, rate=rate)
    with av.open(str(path)) as container:
        assert container.streams.video[0].average_rate == rate
    info = open_frames(path).info
    assert info.frame_rate == rate
    assert info.duration_s == pytest.approx(float(30 / rate), abs=1e-4)  # mp4 counts whole ticks


def test_variable_rate_survives_a_rewrite(tmp_path: Path, clips: Any) -> None:
    times = [Fraction(i * i, 90000) * 40 + Fraction(i, 30) for i in range(25)]
    source = clips.make(frames=25, times=times)
    copy = rewrite(source, tmp_path / "copy.mp4")
    assert [f.time for f in open_frames(copy)] == [f.time for f in open_frames(source)] == times
    assert [clips.number_of(f.image) for f in open_frames(copy)] == list(range(25))


def test_skipped_frames_leave_a_gap_in_time(tmp_path: Path, clips: Any) -> None:
    with VideoWriter(tmp_path / "gap.mp4", Fraction(30), (64, 48)) as writer:
        for index in (0, 1, 5, 6):
            writer.write(clips.numbered(index), Fraction(index, 30))
    assert [f.time * 30 for f in open_frames(tmp_path / "gap.mp4")] == [0, 1, 5, 6]


def test_times_that_do_not_ascend_are_moved_apart(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "x.mp4", Fraction(30), (64, 48), time_base=Fraction(1, 3000)) as writer:
        for time in (Fraction(0), Fraction(0), Fraction(1, 30)):
            writer.write(GREY, time)
    assert [f.time for f in open_frames(tmp_path / "x.mp4")] == [0, Fraction(1, 3000), Fraction(1, 30)]


def test_colours_survive(tmp_path: Path) -> None:
    colours = [(250, 5, 5), (5, 250, 5), (5, 5, 250), (200, 180, 40), (250, 250, 250), (3, 3, 3)]
    with VideoWriter(tmp_path / "c.mp4", Fraction(30), (32, 32), crf=1) as writer:
        for colour in colours:
            writer.write(np.full((32, 32, 3), colour, np.uint8))
    for frame, colour in zip(open_frames(tmp_path / "c.mp4"), colours, strict=True):
        np.testing.assert_allclose(frame.image[16, 16], colour, atol=4)  # 8-bit limited-range rounding


@pytest.mark.parametrize("size", [(63, 47), (16, 16), (1, 1), (2, 35)], ids=str)
def test_odd_and_tiny_sizes_are_padded_to_even(tmp_path: Path, size: tuple[int, int]) -> None:
    image = np.full((size[1], size[0], 3), (90, 160, 30), np.uint8)
    with VideoWriter(tmp_path / "odd.mp4", Fraction(30), size) as writer:
        for _ in range(3):
            writer.write(image)
    found = next(iter(open_frames(tmp_path / "odd.mp4"))).image
    assert found.shape[:2] == (size[1] + size[1] % 2, size[0] + size[0] % 2)
    np.testing.assert_allclose(found[-1, -1], (90, 160, 30), atol=6)  # the padding repeats the border


def test_sound_is_copied_bit_by_bit(tmp_path: Path, clips: Any) -> None:
    source = clips.make(frames=60, sound=(2.0, 44100, "aac"))
    codec, _, packets = sound(rewrite(source, tmp_path / "copy.mp4"))
    assert codec == "aac"
    assert packets == sound(source)[2]


def test_longer_sound_is_cut_to_the_pictures(tmp_path: Path, clips: Any) -> None:
    source = clips.make(frames=60, sound=(2.0, 44100, "aac"))
    _, end, packets = sound(rewrite(source, tmp_path / "cut.mp4", frames=20))
    assert 20 / 30 <= end < 20 / 30 + 1024 / 44100 + 1e-6  # to the packet
    assert packets == sound(source)[2][: len(packets)]


def test_shorter_sound_is_left_alone(tmp_path: Path, clips: Any) -> None:
    source = clips.make(frames=60, sound=(0.7, 44100, "aac"))
    _, end, _ = sound(rewrite(source, tmp_path / "short.mp4"))
    assert end == pytest.approx(0.7, abs=0.03)


@pytest.mark.parametrize("frames", [60, 20])
def test_sound_that_mp4_players_lack_becomes_aac(tmp_path: Path, clips: Any, frames: int) -> None:
    source = clips.make("pcm.mkv", frames=60, sound=(2.0, 44100, "pcm_s16le"))
    copy = rewrite(source, tmp_path / "aac.mp4", frames=frames)
    codec, end, _ = sound(copy)
    assert codec == "aac"
    assert end == pytest.approx(frames / 30, abs=0.05)
    for begin in (0.1, 0.4):  # in step: it grows louder with time
        assert loudness(copy, begin, begin + 0.2) == pytest.approx(
            loudness(source, begin, begin + 0.2) / 32768, rel=0.1
        )
    assert sound(rewrite(source, tmp_path / "same.mkv"))[0] == "pcm_s16le"


def test_sound_stays_in_step_when_the_pictures_begin_later(tmp_path: Path, clips: Any) -> None:
    source = clips.make("late.mkv", frames=60, sound=(2.0, 44100, "aac"))
    late = tmp_path / "shifted.mkv"  # pictures half a second later than the sound
    with av.open(str(source)) as container, av.open(str(late), "w") as target:
        streams = {s.index: target.add_stream_from_template(s) for s in container.streams}
        for packet in container.demux():
            if packet.size:
                if packet.stream.type == "video":
                    packet.pts, packet.dts = packet.pts + 500, None if packet.dts is None else packet.dts + 500
                packet.stream = streams[packet.stream_index]
                target.mux(packet)
    assert open_frames(late).info.start == Fraction(1, 2)
    copy = rewrite(late, tmp_path / "copy.mp4")
    for begin in (0.1, 0.8):
        assert loudness(copy, begin, begin + 0.3) == pytest.approx(loudness(late, begin, begin + 0.3), rel=0.05)
    assert loudness(late, 0.1, 0.4) > 1.5 * loudness(source, 0.1, 0.4)  # the test would see an unshifted copy


def test_real_clip_keeps_rate_and_sound(tmp_path: Path, real_clips: Path) -> None:
    source = real_clips / "WolfgangLanger_Pexels.mp4"
    copy = rewrite(source, tmp_path / "copy.mp4", frames=48)
    assert open_frames(copy).info.frame_rate == Fraction(24000, 1001)
    codec, end, packets = sound(copy)
    assert (codec, packets) == ("aac", sound(source)[2][: len(packets)])
    assert 48 * 1001 / 24000 <= end < 48 * 1001 / 24000 + 1024 / 48000


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_metadata_is_read_back(tmp_path: Path, suffix: str) -> None:
    metadata = {"tool": "reenact_zoo", "reenact_zoo_json": json.dumps({"consent": "Ünï €, 'ja'; =x\nline"})}
    with VideoWriter(tmp_path / f"m{suffix}", Fraction(30), (64, 48), metadata=metadata) as writer:
        writer.write(GREY)
    found = read_metadata(tmp_path / f"m{suffix}")
    assert {key: found[key] for key in metadata} == metadata


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_image_metadata_is_read_back(tmp_path: Path, suffix: str) -> None:
    write_image(tmp_path / f"i{suffix}", GREY, {"tool": "reenact_zoo", "consent": "Grüße €"})
    assert read_metadata(tmp_path / f"i{suffix}") == {"tool": "reenact_zoo", "consent": "Grüße €"}
    assert np.abs(read_image(tmp_path / f"i{suffix}").astype(int) - GREY).max() <= 2
    Image.new("RGB", (4, 4)).save(tmp_path / f"foreign{suffix}", comment=b"made by hand")
    assert read_metadata(tmp_path / f"foreign{suffix}") in ({}, {"comment": "made by hand"})


def test_frame_folder_is_lossless_and_appears_whole(tmp_path: Path, clips: Any) -> None:
    with FrameFolderWriter(tmp_path / "frames", {"tool": "x"}) as writer:
        for index in range(3):
            writer.write(clips.numbered(index))
        assert not (tmp_path / "frames").exists()
    assert listing(tmp_path / "frames") == ["000000.png", "000001.png", "000002.png"]
    assert listing(tmp_path) == ["frames"]
    np.testing.assert_array_equal(read_image(tmp_path / "frames/000002.png"), clips.numbered(2))
    with pytest.raises(InputError, match="exists and is no empty folder"):
        FrameFolderWriter(tmp_path / "frames")


def interrupted(writer: VideoWriter | FrameFolderWriter, error: type[BaseException]) -> None:
    with writer:
        for _ in range(20):
            writer.write(GREY)
        assert writer._part.exists()
        raise error


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_writer_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    (tmp_path / "old.mp4").write_bytes(b"precious")
    for target in ("old.mp4", "new.mp4"):
        with pytest.raises(error):
            interrupted(VideoWriter(tmp_path / target, Fraction(30), (64, 48)), error)
    with pytest.raises(error):
        interrupted(FrameFolderWriter(tmp_path / "frames"), error)
    assert listing(tmp_path) == ["old.mp4"]
    assert (tmp_path / "old.mp4").read_bytes() == b"precious"


def test_a_video_without_frames_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no frame"), VideoWriter(tmp_path / "x.mp4", Fraction(30), (64, 48)):
        pass
    with pytest.raises(InputError, match="no frame"), FrameFolderWriter(tmp_path / "x"):
        pass
    assert listing(tmp_path) == []


def test_unwritable_targets_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder.mp4").mkdir()
    for path, says in [
        (tmp_path / "nowhere" / "x.mp4", "does not exist"),
        (tmp_path / "folder.mp4", "it is a folder"),
        (tmp_path / "x.avi", "must end in .mp4"),
        (tmp_path / "x", "must end in .mp4"),
        (Path("/proc/x.mp4"), "cannot write"),
    ]:
        with pytest.raises(InputError, match=says) as error:
            VideoWriter(path, Fraction(30), (64, 48))
        assert "\n" not in str(error.value)
    for path, says in [(tmp_path / "x.gif", "must end in .png"), (tmp_path / "nowhere" / "x.png", "does not exist")]:
        with pytest.raises(InputError, match=says):
            write_image(path, GREY)
    with pytest.raises(InputError, match="cannot write"):
        FrameFolderWriter(Path("/proc/frames"))

    def refuse(*_: object, **__: object) -> None:
        raise av.error.PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(write.av, "open", refuse)
    with pytest.raises(InputError, match="permission denied"):
        VideoWriter(tmp_path / "x.mp4", Fraction(30), (64, 48))
    assert listing(tmp_path) == ["folder.mp4"]


FULL = """
import resource, signal, sys
import numpy as np
from fractions import Fraction
from pathlib import Path
from reenact_zoo.types import InputError
from reenact_zoo.video.write import FrameFolderWriter, VideoWriter, write_image, write_text

folder = Path(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
noise = np.random.default_rng(0).integers(0, 255, (96, 96, 3), np.uint8)

def video():
    with VideoWriter(folder / "x.mp4", Fraction(30), (96, 96)) as writer:
        for shift in range(40):
            writer.write(np.roll(noise, shift, axis=0))

def frames():
    with FrameFolderWriter(folder / "frames") as writer:
        writer.write(noise)

def image():
    write_image(folder / "x.png", noise)

def text():
    write_text(folder / "x.json", "x" * 99999)

for limit in (0, 20, 3000, 5000, 20000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    for action in (video, image, text, frames):
        try:
            action()
        except InputError as error:
            print(error, list(folder.iterdir()))
"""


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    # a limit on the file's size breaks the same calls as a full disk: the header (0, 20 bytes), the pictures, the index
    result = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, timeout=60, check=True
    )
    lines = result.stdout.splitlines()
    assert len(lines) == 20, result.stdout + result.stderr
    assert all("no space left" in line and line.endswith("[]") for line in lines), lines
    assert listing(tmp_path) == []
    assert not result.stderr


def test_a_short_write_that_nobody_reports_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = VideoWriter(tmp_path / "x.mp4", Fraction(30), (64, 48))
    for _ in range(5):
        writer.write(GREY)
    writer._frames += 1  # as if one had been lost on the way
    with pytest.raises(InputError, match="5 of 6 frames arrived"):
        writer.close()
    assert listing(tmp_path) == []


def test_text_is_written_whole(tmp_path: Path) -> None:
    write_text(tmp_path / "t.json", "ä")
    assert (tmp_path / "t.json").read_text(encoding="utf-8") == "ä"
    assert listing(tmp_path) == ["t.json"]


MEMORY = """
import resource, sys
from fractions import Fraction
from pathlib import Path
from reenact_zoo.video.read import open_frames
from reenact_zoo.video.write import VideoWriter

source = Path(sys.argv[1])
copy = source.with_name("copy_" + source.name)
opened = open_frames(source)
with VideoWriter(copy, opened.info.frame_rate, (64, 48), audio_from=source) as writer:
    for frame in opened:
        writer.write(frame.image, frame.time)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_clip(clips: Any) -> None:
    peaks = []
    for frames in (200, 2000):
        path = clips.make(f"{frames}.mp4", frames=frames, sound=(frames / 30, 44100, "aac"))
        result = subprocess.run(
            [sys.executable, "-c", MEMORY, str(path)],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        peaks.append(int(result.stdout))
    assert peaks[1] < 1.1 * peaks[0], f"{peaks} KiB"

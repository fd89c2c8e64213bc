from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from reenact_zoo.serving import animate as module
from reenact_zoo.serving.animate import AnimationResult, animate
from reenact_zoo.types import InputError
from reenact_zoo.video.read import open_frames, read_image
from reenact_zoo.video.write import VideoWriter, write_image


def play(stage: Any, driving: Path, out: str = "result.mp4", **options: Any) -> AnimationResult:
    defaults: dict[str, Any] = {"method": "zoo_methods:Echo", "size": 64, "progress": False}
    defaults["instruments"] = stage.instruments
    source = options.pop("source", stage.source)
    return animate(source, driving, stage.out / out, **{**defaults, **options})


def statuses(result: AnimationResult) -> str:
    """First letters: o ok, h held, k skipped, s source."""
    letter = {"ok": "o", "held": "h", "skipped": "k", "source": "s"}
    return "".join(letter[f["status"]] for f in json.loads(result.sidecar.read_text(encoding="utf-8"))["frames"])


def refused(stage: Any, says: str, *args: Any, **options: Any) -> str:
    with pytest.raises(InputError, match=says) as error:
        play(stage, *args, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_every_frame_is_reenacted_at_the_driving_clips_rate(stage: Any) -> None:
    result = play(stage, stage.clip(frames=12, rate=Fraction(24000, 1001)))
    made = open_frames(result.out)
    assert made.info.frame_rate == result.frame_rate == Fraction(24000, 1001)
    assert (made.info.width, made.info.height) == (64, 64)
    assert stage.levels(f.image for f in made) == [10 * i for i in range(12)]
    assert statuses(result) == "o" * 12
    assert result.counts == {"ok": 12}
    assert result.num_frames == 12
    assert stage.files() == ["result.mp4", "result.mp4.json"]


def test_the_source_is_encoded_once_and_the_face_detected_once(stage: Any) -> None:
    play(stage, stage.clip(frames=12))
    kinds = [kind for kind, _ in stage.methods.Echo.calls]
    assert kinds == ["encode"] + ["drive"] * 12
    assert stage.detector.calls == 2  # source, first driving frame
    batch = stage.methods.Echo.calls[0][1]
    assert set(batch) == {"source", "source_landmarks"}
    assert batch["source"].shape == (1, 3, 64, 64)
    points = batch["source_landmarks"][0].numpy()
    assert np.abs(points).max() < 1
    # the ellipse of a 24 px face in a square of 2.2 x 24 px, placed 0.15 x 24 px above: half-axis 1 / 2.2
    np.testing.assert_allclose(np.ptp(points, axis=0) / 2, 1 / 2.2, rtol=0.01)
    np.testing.assert_allclose(points.mean(0), (0, 0.3 / 2.2), atol=0.03)


def test_several_sources_reach_a_method_that_uses_them_and_no_other(stage: Any) -> None:
    more = stage.folder / "more.png"
    write_image(more, stage.picture(150))
    clip, sources = stage.clip(frames=2), [stage.source, more]
    result = play(stage, clip, method="zoo_methods:Several", source=sources)
    batch = stage.methods.Echo.calls[0][1]
    assert set(batch) == {"source", "source_landmarks", "extra_sources", "extra_sources_landmarks"}
    assert batch["extra_sources"].shape == (1, 1, 3, 64, 64)
    assert batch["extra_sources"][0, 0, :, 2, 2].mul(255).round().tolist() == [150] * 3
    assert batch["source"][0, :, 2, 2].mul(255).round().tolist() == [100] * 3
    assert batch["extra_sources_landmarks"].shape == (1, 1, 68, 2)
    sidecar = json.loads(result.sidecar.read_text(encoding="utf-8"))
    assert sidecar["source"]["name"] == "source.png"
    assert [entry["name"] for entry in sidecar["extra_sources"]] == ["more.png"]
    assert sidecar["extra_sources"][0]["sha256"] != sidecar["source"]["sha256"]
    refused(stage, "'zoo_methods:Echo' takes one source image, 2 are given", clip, "no.mp4", source=sources)
    refused(stage, "no source picture", clip, "no.mp4", source=[])


@pytest.mark.parametrize(
    ("policy", "expected", "levels"),
    [
        ("hold", "ssoohhoo", [100, 100, 20, 30, 30, 30, 60, 70]),
        ("source", "ssoossoo", [100, 100, 20, 30, 100, 100, 60, 70]),
        ("skip", "kkookkoo", [20, 30, 60, 70]),
    ],
)
def test_frames_without_a_face(stage: Any, policy: Any, expected: str, levels: list[int]) -> None:
    result = play(stage, stage.clip(frames=8, without_face=(0, 1, 4, 5)), no_face=policy)
    made = list(open_frames(result.out))
    assert statuses(result) == expected
    assert stage.levels(f.image for f in made) == levels
    shown = [i for i, status in enumerate(expected) if status != "k"]
    with av.open(str(result.out)) as container:
        times = [Fraction(frame.pts) * frame.time_base for frame in container.decode(video=0)]
    assert times == [Fraction(i, 30) for i in shown]  # skipped frames leave a gap, so sound stays in step
    assert result.num_frames == len(shown)


def test_policy_fail_names_the_frame(stage: Any) -> None:
    text = refused(stage, "no face in frame 4", stage.clip(frames=8, without_face=(4,)), no_face="fail")
    assert "--no-face" in text
    assert stage.files() == []


def test_a_frame_the_method_cannot_make_counts_as_without_face(stage: Any) -> None:
    stage.methods.Echo.nan_at = (2,)
    result = play(stage, stage.clip(frames=4))
    assert statuses(result) == "ooho"


def test_no_face_in_any_frame_leaves_nothing(stage: Any) -> None:
    for policy in ("hold", "skip", "source"):
        text = refused(stage, "any of the 6 frames", stage.clip(frames=6, without_face=range(6)), no_face=policy)
        assert "red" in text
        assert "ellipse" in text
    assert stage.files() == []


def test_no_face_in_the_source_says_what_was_tried(stage: Any) -> None:
    write_image(stage.source, stage.picture(100, ()))
    text = refused(stage, "no face found in the source", stage.clip())
    assert "96x72 pixels" in text
    assert "detector red" in text
    assert stage.files() == []


TWO = ((4, 24, 20, 20), (60, 20, 28, 28))


def test_two_faces_take_the_largest_with_a_note(stage: Any, capsys: pytest.CaptureFixture[str]) -> None:
    play(stage, stage.clip(faces=TWO))
    note = capsys.readouterr().err
    assert note.count("note: 2 faces in") == 1
    assert "--face INDEX" in note
    assert "driving.mp4" in note
    assert _blue_of_first_driving_face(stage) == pytest.approx(110, abs=10)


def test_a_face_can_be_chosen_by_number(stage: Any, capsys: pytest.CaptureFixture[str]) -> None:
    play(stage, stage.clip(faces=TWO), face=1)  # the source has one face, which is then meant
    assert capsys.readouterr().err == ""
    assert _blue_of_first_driving_face(stage) == pytest.approx(30, abs=10)
    refused(stage, r"shows 2 faces, numbered 0 \(largest\) to 1", stage.clip(faces=TWO), "other.mp4", face=2)
    refused(stage, "numbered from 0", stage.clip(faces=TWO), "other.mp4", face=-1)
    assert "other.mp4" not in stage.files()


def _blue_of_first_driving_face(stage: Any) -> float:
    first = next(batch for kind, batch in stage.methods.Echo.calls if kind == "drive")
    return float(first["driving"][0, 2, 36, 32]) * 255


def test_variable_rate_keeps_its_times(stage: Any) -> None:
    times = [Fraction(i, 30) + Fraction(i * i, 900) for i in range(10)]
    result = play(stage, stage.clip(frames=10, times=times))
    assert [f.time for f in open_frames(result.out)] == times


def test_sound_is_carried_over(stage: Any, real_clips: Path) -> None:
    driving = real_clips / "d18.mp4"
    fixed = stage.instruments.__class__(_Everywhere(), _Fixed())
    short = stage.folder / "short.mp4"
    info = open_frames(driving).info
    with VideoWriter(short, info.frame_rate, (info.width, info.height), audio_from=driving) as writer:
        for frame in open_frames(driving):
            if frame.index == 20:
                break
            writer.write(frame.image, frame.time)
    result = play(stage, short, instruments=fixed, source=short_source(stage))
    packets = []
    for path in (short, result.out):
        with av.open(str(path)) as container:
            packets.append([bytes(p) for p in container.demux(audio=0) if p.size])
    assert packets[0] == packets[1]
    assert len(packets[0]) > 25


class _Everywhere:
    name, min_face_px = "everywhere", 1

    def detect(self, image: np.ndarray) -> list[Any]:
        from reenact_zoo.faces.detect import Detection

        height, width = image.shape[:2]
        return [Detection((width * 0.3, height * 0.3, width * 0.7, height * 0.7), 1.0)]


class _Fixed:
    name = "fixed"

    def detect_scored(self, image: np.ndarray, boxes: Any, **_: Any) -> tuple[np.ndarray, np.ndarray]:
        unit = np.random.default_rng(0).random((68, 2))
        unit[:2] = (0, 0), (1, 1)
        points = np.array([np.array(b[:2]) + unit * (np.array(b[2:]) - np.array(b[:2])) for b in boxes], np.float32)
        return points, np.ones(len(boxes), np.float32)


def short_source(stage: Any) -> Path:
    return stage.source


def test_outputs_by_name(stage: Any) -> None:
    clip, still = stage.clip(frames=3), stage.source
    assert play(stage, still, "one.png").out.is_file()
    assert read_image(stage.out / "one.png").shape == (64, 64, 3)
    assert open_frames(play(stage, still, "one.mp4").out).info.num_frames == 1
    folder = play(stage, clip, "frames").out
    assert [f.name for f in sorted(folder.iterdir())] == ["000000.png", "000001.png", "000002.png"]
    assert stage.levels(f.image for f in open_frames(folder)) == [0, 10, 20]
    assert open_frames(play(stage, folder_of_frames(stage), "again.mkv").out).info.frame_rate == 25
    refused(stage, "more than one frame", clip, "x.png")
    refused(stage, "end its name in", clip, "x.gif")
    refused(stage, "no empty folder", clip, "frames")
    assert stage.files() == [
        "again.mkv",
        "again.mkv.json",
        "frames",
        "frames.json",
        "one.mp4",
        "one.mp4.json",
        "one.png",
        "one.png.json",
    ]


def folder_of_frames(stage: Any) -> Path:
    folder = stage.folder / "sequence"
    folder.mkdir()
    for index in range(3):
        write_image(folder / f"{index}.png", stage.picture(10 * index))
    return folder


def test_the_output_must_not_be_an_input(stage: Any) -> None:
    clip = stage.clip()
    before = clip.read_bytes()
    with pytest.raises(InputError, match="also an input"):
        animate(stage.source, clip, clip, method="zoo_methods:Echo", instruments=stage.instruments)
    assert clip.read_bytes() == before


def test_concat_and_paste_back(stage: Any) -> None:
    clip = stage.clip(frames=3)
    wide = next(iter(open_frames(play(stage, clip, "wide.mp4", concat=True).out))).image
    assert wide.shape == (64, 192, 3)
    assert stage.levels([wide, wide[:, 64:], wide[:, 128:]]) == [100, 0, 0]
    back = next(iter(open_frames(play(stage, clip, "back.mp4", paste_back=True).out))).image
    assert back.shape == (72, 96, 3)
    assert stage.levels([back]) == [100]  # outside the square the source stays
    np.testing.assert_allclose(back[36, 48], (230, 30, 30), atol=12)
    assert back[20, 48].mean() < 30  # inside it the driving clip's background shows
    refused(stage, "exclude each other", clip, "x.mp4", concat=True, paste_back=True)


def test_relative_motion_gets_the_first_face_as_reference(stage: Any) -> None:
    clip = stage.clip(frames=4, without_face=(0,))
    play(stage, clip, "absolute.mp4")
    assert all("driving_reference" not in batch for _, batch in stage.methods.Echo.calls)
    stage.methods.Echo.calls.clear()
    play(stage, clip, "relative.mp4", relative=True)
    drives = [batch for kind, batch in stage.methods.Echo.calls if kind == "drive"]
    assert len(drives) == 3
    for batch in drives:
        np.testing.assert_array_equal(batch["driving_reference"], drives[0]["driving"])
        np.testing.assert_array_equal(batch["driving_reference_landmarks"], drives[0]["driving_landmarks"])


def test_relative_motion_can_count_from_the_frame_most_like_the_source(stage: Any) -> None:
    clip = stage.folder / "widths.mp4"
    with VideoWriter(clip, Fraction(30), (96, 72)) as writer:
        for width in (36, 30, 24, 18):  # the source's rectangle is as wide as it is high: 24 pixels
            image = np.full((72, 96, 3), 5 * width, np.uint8)
            image[24:48, 36 : 36 + width] = (230, 30, 30)
            writer.write(image)
    play(stage, clip, "best.mp4", relative=True, best_frame=True)
    drives = [batch for kind, batch in stage.methods.Echo.calls if kind == "drive"]
    assert len(drives) == 4
    for batch in drives:
        points = batch["driving_reference_landmarks"][0].numpy()
        assert np.ptp(points[:, 0]) == pytest.approx(np.ptp(points[:, 1]), rel=0.05)
        assert batch["driving_reference"][0, :, 2, 2].mean() * 255 == pytest.approx(120, abs=3)
    refused(stage, "add --relative", clip, "no.mp4", best_frame=True)
    empty = stage.clip(name="empty.mp4", frames=2, without_face=(0, 1))
    refused(stage, "no face found in any of the 2 frames", empty, "no.mp4", relative=True, best_frame=True)


def test_a_method_without_weights_or_instruments_is_refused(stage: Any) -> None:
    clip = stage.clip()
    refused(stage, "--checkpoint", clip, method="zoo_methods:Trained")
    refused(stage, "no checkpoint file", clip, method="zoo_methods:Echo", checkpoint=stage.folder / "no.ckpt")
    refused(stage, "driving_coefficients_window", clip, method="zoo_methods:NoFriend")
    refused(stage, "unknown method", clip, method="no_such_method")
    assert stage.files() == []


def test_bad_settings_are_refused(stage: Any) -> None:
    refused(stage, "unknown policy", stage.clip(), no_face="guess")
    for size in (8, 10_000):
        refused(stage, "outside 16 to 4096", stage.clip(), size=size)


def test_bad_inputs_are_one_line_and_leave_nothing(stage: Any) -> None:
    clip = stage.clip()
    text = stage.folder / "text.mp4"
    text.write_text("no video")
    broken = stage.clip(name="broken.mp4", frames=60)
    broken.write_bytes(broken.read_bytes()[:-300])
    refused(stage, "no such file", stage.folder / "nowhere.mp4")
    refused(stage, "not a video", text)
    refused(stage, "truncated", broken)
    refused(stage, "no such file", clip, source=stage.folder / "nowhere.png")
    refused(stage, "is a folder", clip, source=stage.folder)
    refused(stage, "not an image", clip, source=clip)
    with pytest.raises(InputError, match="does not exist"):
        animate(
            stage.source, clip, stage.out / "no" / "x.mp4", method="zoo_methods:Echo", instruments=stage.instruments
        )
    assert stage.files() == []


def test_damage_in_the_middle_of_the_clip_leaves_nothing(stage: Any) -> None:
    clip = stage.clip(frames=60)
    with av.open(str(clip)) as container:
        entries = [container.streams.video[0].index_entries[k] for k in range(30, 45)]
    data = bytearray(clip.read_bytes())
    for entry in entries:  # a decoder conceals the loss of a single small picture now and then
        data[entry.pos : entry.pos + entry.size] = b"\xff" * entry.size
    clip.write_bytes(data)
    refused(stage, "damaged after", clip)
    assert stage.files() == []


@pytest.mark.parametrize("mode", ["RGBA", "L", "CMYK", "LA", "I;16"])
def test_source_pictures_of_every_mode(stage: Any, mode: str) -> None:
    everywhere = stage.instruments.__class__(_Everywhere(), _Fixed())
    path = stage.folder / ("s.jpg" if mode == "CMYK" else "s.png")
    rgb = Image.fromarray(stage.picture(100))
    if mode == "I;16":
        Image.fromarray(np.full((72, 96), 30000, np.uint16)).save(path)
    else:
        rgb.convert(mode).save(path)
    assert play(stage, stage.clip(frames=2), source=path, instruments=everywhere).counts == {"ok": 2}


def test_ctrl_c_leaves_nothing_and_no_thread(stage: Any) -> None:
    stage.methods.Echo.interrupt_at = 5
    with pytest.raises(KeyboardInterrupt):
        play(stage, stage.clip(frames=12))
    assert stage.files() == []
    assert {thread.name for thread in threading.enumerate()}.isdisjoint({"decode", "encode"})


INTERRUPTED = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs, and theirs, ignore it otherwise
sys.path[:0] = [sys.argv[1], sys.argv[2]]
from pathlib import Path
import conftest, time
import zoo_methods
from reenact_zoo.serving.animate import animate
slow = zoo_methods.Echo.drive

def drive(self, state, batch):
    print("frame", flush=True)
    time.sleep(0.2)
    return slow(self, state, batch)

zoo_methods.Echo.drive = drive
folder = Path(sys.argv[2])
instruments = conftest.Instruments(conftest.RedDetector(), conftest.RedLandmarks())
try:
    animate(folder / "stage/source.png", folder / "stage/driving.mp4", folder / "out/x.mp4", method="zoo_methods:Echo",
            instruments=instruments, progress=False)
except KeyboardInterrupt:
    sys.exit(130)
"""


def test_a_real_interrupt_signal_leaves_nothing(stage: Any) -> None:
    stage.clip(frames=100)
    command = [sys.executable, "-c", INTERRUPTED, str(Path(__file__).parent), str(stage.out.parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        # Not before the third frame: libraries that are imported on first use may swallow the signal
        assert [process.stdout.readline() for _ in range(3)] == ["frame\n"] * 3
        assert [name.endswith(".part.mp4") for name in stage.files()] == [True]
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=15) == 130
    assert stage.files() == []


def test_a_full_disk_in_the_encoding_thread_is_told(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = VideoWriter.write

    def fill(self: VideoWriter, image: np.ndarray, time: Fraction | None = None) -> None:
        if self.path.name == "result.mp4" and self._frames == 5:
            raise InputError("no space left while writing")
        whole(self, image, time)

    clip = stage.clip(frames=60)
    monkeypatch.setattr(VideoWriter, "write", fill)
    refused(stage, "no space left", clip)
    assert stage.files() == []


def test_an_output_without_sidecar_does_not_stay(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise InputError("no space left while writing")

    monkeypatch.setattr(module.provenance, "write_text", full)
    refused(stage, "no space left", stage.clip(frames=2))
    assert stage.files() == []


MEMORY = """
import resource, sys
sys.path[:0] = [sys.argv[1], sys.argv[2]]
from pathlib import Path
import conftest
from reenact_zoo.serving.animate import animate

class Still(conftest.RedLandmarks):  # as good for the memory, and quicker
    def detect_scored(self, image, boxes, **_):
        points, scores = self.memo = getattr(self, "memo", None) or super().detect_scored(image, boxes)
        return points, scores

folder = Path(sys.argv[2])
instruments = conftest.Instruments(conftest.RedDetector(), Still())
animate(folder / "stage/source.png", folder / "stage" / sys.argv[3], folder / "out" / sys.argv[3], size=64,
        method="zoo_methods:Plain", instruments=instruments, progress=False)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_clip(stage: Any) -> None:
    peaks = []
    for frames in (200, 2000):
        clip = stage.clip(frames=frames, name=f"{frames}.mp4")
        command = [sys.executable, "-c", MEMORY, str(Path(__file__).parent), str(stage.out.parent), clip.name]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        result = subprocess.run(command, capture_output=True, text=True, timeout=150, check=True, env=environment)
        peaks.append(int(result.stdout))
    assert peaks[1] < 1.1 * peaks[0], f"{peaks} KiB"


def test_a_real_portrait_follows_a_real_clip(
    stage: Any, astronaut: np.ndarray, real_clips: Path, weights_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_image(stage.source, astronaut)
    short = stage.folder / "short.mp4"
    with VideoWriter(short, Fraction(24000, 1001), (640, 360)) as writer:
        for frame in open_frames(real_clips / "WolfgangLanger_Pexels.mp4"):
            if frame.index == 8:
                break
            writer.write(frame.image, frame.time)
    result = play(stage, short, instruments=None, size=128)
    assert result.counts == {"ok": 8}
    assert capsys.readouterr().err == ""  # HOG's two false faces in the space suit are not mentioned
    square = json.loads(result.sidecar.read_text(encoding="utf-8"))["source"]["square"]
    assert (square["x"], square["y"]) == pytest.approx((224, 119), abs=8)


def test_tiny_and_8k_sources(
    stage: Any, astronaut: np.ndarray, weights_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_image(stage.source, np.asarray(Image.fromarray(astronaut).resize((16, 16))))
    write_image(stage.folder / "face.png", astronaut)
    refused(stage, "no face found in the source.*16x16", stage.folder / "face.png", "x.png", instruments=None)
    large = np.asarray(Image.fromarray(astronaut).resize((4320, 4320)))
    write_image(stage.folder / "8k.jpg", np.pad(large, ((0, 0), (1680, 1680), (0, 0))))
    result = play(stage, stage.folder / "face.png", "8k.png", source=stage.folder / "8k.jpg", instruments=None)
    assert result.counts == {"ok": 1}

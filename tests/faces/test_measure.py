from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from stand_ins import BoxLandmarks, BrightSquareDetector, picture, untrained_weights
from torch import Tensor

from reenact_zoo.faces.measure import QUANTITIES, FaceMeasurer
from reenact_zoo.faces.motion import SyntheticMotion
from reenact_zoo.faces.parsing import SyntheticParsing
from reenact_zoo.faces.quantities import INSTRUMENTS
from reenact_zoo.types import InputError
from reenact_zoo.weights.store import WeightsMissing, WeightStore


def batch(*images: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255


def counted(cache: Path | None = None) -> tuple[FaceMeasurer, BrightSquareDetector, BoxLandmarks]:
    detector, landmarks = BrightSquareDetector(), BoxLandmarks()
    return FaceMeasurer(cache=cache, detector=detector, landmarks=landmarks), detector, landmarks


EMPTY = np.full((160, 160, 3), 60, np.uint8)


@pytest.fixture
def _no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REENACT_ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("REENACT_ZOO_WEIGHTS", raising=False)
    monkeypatch.setattr("reenact_zoo.weights.store._bundled_folder", lambda: tmp_path / "nothing")


def test_each_instrument_runs_once_per_image_however_often_it_is_asked() -> None:
    measurer, detector, landmarks = counted()
    images = batch(picture(20, 30), EMPTY, picture(20, 30), picture(70, 10))
    for quantity in ("pose_pnp", "landmarks", "detected", "box", "landmarks"):
        measurer.measure(quantity, images)
    measurer.measure("landmarks", images.flip(0))
    assert detector.calls == 3, "two of the four images are equal"
    assert landmarks.calls == 2, "one image has no face"


def test_the_disk_cache_saves_the_instruments_in_another_process(tmp_path: Path) -> None:
    images = batch(picture(20, 30), EMPTY)
    first, *_ = counted(tmp_path / "faces")
    expected = first.measure("landmarks", images)
    second, detector, landmarks = counted(tmp_path / "faces")
    assert torch.equal(second.measure("landmarks", images).nan_to_num(-9), expected.nan_to_num(-9))
    assert (detector.calls, landmarks.calls) == (0, 0)


def test_another_instrument_does_not_read_the_others_results(tmp_path: Path) -> None:
    images = batch(picture(20, 30))
    counted(tmp_path)[0].measure("landmarks", images)
    other, detector, landmarks = counted(tmp_path)
    landmarks.name = "another"
    other.measure("landmarks", images)
    assert (detector.calls, landmarks.calls) == (0, 1)


def test_a_damaged_cache_file_is_measured_again(tmp_path: Path) -> None:
    images = batch(picture(20, 30))
    expected = counted(tmp_path)[0].measure("box", images)
    for file in tmp_path.iterdir():
        file.write_bytes(b"damaged" * 100)
    measurer, detector, _ = counted(tmp_path)
    assert torch.equal(measurer.measure("box", images), expected)
    assert detector.calls == 1


def test_a_changed_pixel_is_another_image() -> None:
    measurer, detector, _ = counted()
    images = batch(picture(20, 30))
    measurer.measure("detected", images)
    images[0, 0, 0, 0] += 1e-4  # less than one grey level
    measurer.measure("detected", images)
    assert detector.calls == 2


def test_rows_without_a_face_are_nan_and_detected_is_zero() -> None:
    measurer, *_ = counted()
    images = batch(EMPTY, picture(20, 30))
    assert measurer.measure("detected", images).tolist() == [0, 1]
    for quantity in ("box", "landmarks", "pose_pnp"):
        values = measurer.measure(quantity, images)
        assert values.shape == (2, *QUANTITIES[quantity].shape)
        assert values[0].isnan().all()
        assert values[1].isfinite().all()


def test_an_image_that_is_not_finite_is_a_failed_row_and_no_instrument_sees_it() -> None:
    measurer, detector, _ = counted()
    images = batch(picture(20, 30))
    images[0, 1, 5, 5] = float("nan")
    assert measurer.measure("detected", images).tolist() == [0]
    assert measurer.measure("landmarks", images).isnan().all()
    assert detector.calls == 0


def test_boxes_and_landmarks_are_normalised_to_the_given_image() -> None:
    measurer, *_ = counted()
    images = batch(picture(20, 30, side=40, size=320))  # 320: not enlarged; the square spans pixels 20-59 and 30-69
    box = measurer.measure("box", images)[0]
    assert box.tolist() == pytest.approx([41 / 320 - 1, 61 / 320 - 1, 121 / 320 - 1, 141 / 320 - 1])
    points = measurer.measure("landmarks", images)[0]
    middle = (points.amin(0) + points.amax(0)) / 2
    assert middle.tolist() == pytest.approx([80 / 320 - 1, 100 / 320 - 1], abs=1e-6)


def test_a_small_image_is_enlarged_without_moving_its_points() -> None:
    measurer, *_ = counted()
    images = batch(picture(20, 28, side=24, size=64))
    points = measurer.measure("landmarks", images)[0]
    middle = (points.amin(0) + points.amax(0)) / 2
    assert middle.tolist() == pytest.approx([64 / 64 - 1, 80 / 64 - 1], abs=0.01)
    extent = points.amax(0) - points.amin(0)
    assert extent.tolist() == pytest.approx([2 * 24 / 64] * 2, abs=0.04)


def test_results_do_not_depend_on_the_neighbours(weights_folder: Path, astronaut: NDArray[np.uint8]) -> None:
    big = astronaut[:256, 100:356]
    images = batch(big, big[:, ::-1].copy(), np.roll(big, 10, 0))
    first, second = FaceMeasurer(), FaceMeasurer()
    for quantity in ("landmarks", "identity_mobilefacenet", "pose_3ddfa_v2", "expression_3ddfa_v2", "pose_pnp"):
        together = first.measure(quantity, images)
        alone = torch.cat([second.measure(quantity, image[None]) for image in images])
        torch.testing.assert_close(together, alone, atol=2e-3, rtol=1e-4)  # degrees; float32 sums in another order


def test_real_quantities_have_their_shapes_and_meaning(weights_folder: Path, astronaut: NDArray[np.uint8]) -> None:
    images = batch(astronaut)
    measurer = FaceMeasurer()
    for name in ("landmarks", "box", "identity_mobilefacenet", "pose_3ddfa_v2", "expression_3ddfa_v2", "pose_pnp"):
        quantity = QUANTITIES[name]
        assert measurer.missing(name) is None
        value = measurer.measure(name, images)
        assert value.shape == (1, *quantity.shape)
        assert value.isfinite().all()
        assert value.dtype == torch.float32
    embedding = measurer.measure("identity_mobilefacenet", images)
    assert float(embedding.norm()) == pytest.approx(1, abs=1e-5)
    assert set(measurer.weights("pose_3ddfa_v2")) >= {"3ddfa_v2_mb05", "3ddfa_v2_mean_std", "openseeface_lm0"}


def test_the_same_face_small_and_large_is_the_same_person(weights_folder: Path, astronaut: NDArray[np.uint8]) -> None:
    import cv2

    large = astronaut[:256, 100:356]
    measurer = FaceMeasurer()
    reference = measurer.measure("identity_mobilefacenet", batch(large))[0]
    pose = measurer.measure("pose_3ddfa_v2", batch(large))[0]
    small = batch(cv2.resize(large, (128, 128), interpolation=cv2.INTER_AREA))
    assert float(measurer.measure("identity_mobilefacenet", small)[0] @ reference) > 0.8
    assert (measurer.measure("pose_3ddfa_v2", small)[0] - pose).abs().max() < 4


@pytest.mark.usefixtures("_no_weights")
def test_without_weights_the_missing_ones_are_named_and_nothing_is_computed() -> None:
    measurer = FaceMeasurer()
    assert measurer.missing("detected") is None
    need = measurer.missing("identity_mobilefacenet")
    assert need is not None
    assert "mobilefacenet.pt" in need
    assert "openseeface_lm0" in need
    with pytest.raises(WeightsMissing, match=r"mobilefacenet\.pt"):
        measurer.measure("identity_mobilefacenet", batch(EMPTY))


@pytest.mark.usefixtures("_no_weights")
def test_detection_works_without_any_file(astronaut: NDArray[np.uint8]) -> None:
    assert FaceMeasurer().measure("detected", batch(astronaut)).tolist() == [1]


def test_an_unknown_quantity_is_answered_with_the_nearest() -> None:
    with pytest.raises(InputError, match="pose_pnp"):
        FaceMeasurer().missing("pose_pmp")


# --- the instruments that are trained with the package, here with random numbers --------------------------------------


def judged(store: WeightStore, cache: Path | None = None) -> FaceMeasurer:
    return FaceMeasurer(store, cache=cache, detector=BrightSquareDetector(), landmarks=BoxLandmarks())


def test_the_table_says_what_its_classes_say() -> None:
    for name, line in INSTRUMENTS.items():
        module, _, kind = line.path.partition(":")
        stated = vars(getattr(importlib.import_module(f"reenact_zoo.faces.{module}"), kind))
        expected = {"name": name, "weights": line.weights, "channels" if line.is_map else "size": line.size}
        for attribute, value in expected.items():
            if attribute in stated:  # else it depends on the options
                assert stated[attribute] == value, name
    for name, quantity in QUANTITIES.items():
        if quantity.row in INSTRUMENTS:
            assert quantity.start + quantity.shape[0] <= INSTRUMENTS[quantity.row].size, name


def test_an_instrument_with_a_role_is_called_like_its_line(tmp_path: Path) -> None:
    store = untrained_weights(tmp_path / "weights")
    for name in [name for name in INSTRUMENTS if "synthetic" in name]:
        made = INSTRUMENTS[name].load(store)
        size = made.channels if isinstance(made, SyntheticParsing) else made.size
        assert (made.name, made.weights, size) == (name, INSTRUMENTS[name].weights, INSTRUMENTS[name].size)


def test_pose_and_expression_of_one_network_cost_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    run = SyntheticMotion.__call__
    monkeypatch.setattr(SyntheticMotion, "__call__", lambda self, x, p: (seen.append(len(x)), run(self, x, p))[1])
    measurer = judged(untrained_weights(tmp_path / "weights"))
    images = batch(picture(20, 30), EMPTY, picture(70, 10))
    pose = measurer.measure("pose_synthetic_judge", images)
    code = measurer.measure("expression_synthetic_judge", images)
    assert seen == [2], "one image has no face"
    assert pose.shape == (3, 3)
    assert code.shape == (3, 20)
    assert pose[1].isnan().all()
    assert code[[0, 2]].isfinite().all()


def test_numbers_are_read_from_the_enlarged_face(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Tensor, Tensor]] = []
    run = SyntheticMotion.__call__
    monkeypatch.setattr(SyntheticMotion, "__call__", lambda self, x, p: (seen.append((x, p)), run(self, x, p))[1])
    measurer = judged(untrained_weights(tmp_path / "weights", entries=("synthetic_motion_judge",)))
    measurer.measure("pose_synthetic_judge", batch(picture(20, 28, side=24, size=64)))
    ((image, points),) = seen
    assert image.shape == (1, 3, 256, 256)
    bright = (image[0, 0] > 0.6).nonzero()  # rows, columns
    edges = torch.cat([bright.amin(0).flip(0), bright.amax(0).flip(0)])
    assert torch.cat([points[0].amin(0), points[0].amax(0)]).tolist() == pytest.approx(edges.tolist(), abs=2)


def test_a_second_run_on_the_same_frames_starts_no_instrument(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, images = untrained_weights(tmp_path / "weights"), batch(picture(20, 30), EMPTY, picture(70, 10))
    names = [name for name in QUANTITIES if "synthetic" in name] + ["landmarks", "detected", "pose_pnp"]
    first = {name: judged(store, tmp_path / "cache").measure(name, images) for name in names}

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("an instrument was loaded although everything is known")

    monkeypatch.setattr("reenact_zoo.faces.instrument.Instrument.load", refuse)
    again = judged(store, tmp_path / "cache")
    for name in names:
        assert torch.equal(again.measure(name, images).nan_to_num(-9), first[name].nan_to_num(-9))
    assert again.detector.calls == again.landmarks.calls == 0  # type: ignore[attr-defined]
    with pytest.raises(AssertionError, match="loaded"):
        again.measure("pose_pnp", batch(picture(21, 30)))


def test_a_changed_weight_file_makes_its_own_results_new_and_no_others(tmp_path: Path) -> None:
    images = batch(picture(20, 30))
    names = ("identity_synthetic_judge", "pose_synthetic_judge", "pose_synthetic_train")
    store = untrained_weights(tmp_path / "weights")
    before = {name: judged(store, tmp_path / "cache").measure(name, images) for name in names}
    hashes = {name: judged(store).weights(name) for name in names}
    store = untrained_weights(tmp_path / "weights", seed=1, entries=("synthetic_motion_judge",))
    changed = judged(store, tmp_path / "cache")
    after = {name: changed.measure(name, images) for name in names}
    assert [name for name in names if not torch.equal(before[name], after[name])] == ["pose_synthetic_judge"]
    assert [name for name in names if changed.weights(name) != hashes[name]] == ["pose_synthetic_judge"]
    assert changed.detector.calls == changed.landmarks.calls == 0  # type: ignore[attr-defined]


def test_a_picture_quantity_has_the_size_of_its_image(tmp_path: Path) -> None:
    images = batch(picture(20, 30), EMPTY)
    parsing = judged(untrained_weights(tmp_path / "weights")).measure("parsing_synthetic", images)
    assert parsing.shape == (2, 19, 160, 160)
    torch.testing.assert_close(parsing[0].sum(0), torch.ones(160, 160), atol=19 / 510 + 1e-6, rtol=0)  # steps of 1/255
    assert parsing[1].isnan().all()


def test_measuring_inside_autocast_changes_nothing(tmp_path: Path) -> None:
    store, images = untrained_weights(tmp_path / "weights"), batch(picture(20, 30))
    expected = judged(store).measure("pose_synthetic_judge", images)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(judged(store).measure("pose_synthetic_judge", images), expected)


def test_judges_are_the_instruments_own_weights(tmp_path: Path) -> None:
    measurer = judged(untrained_weights(tmp_path / "weights"))
    assert measurer.judges("expression_synthetic_judge") == ("synthetic_motion_judge",)
    assert measurer.judges("landmarks") == measurer.judges("pose_pnp") == ()


@pytest.mark.usefixtures("_no_weights")
def test_missing_judges_are_named_with_their_file() -> None:
    need = FaceMeasurer(detector=BrightSquareDetector(), landmarks=BoxLandmarks()).missing("pose_synthetic_judge")
    assert need is not None
    assert "synthetic_motion_judge.safetensors" in need

"""Proxies of dcg_gan: they follow the driver, stay the source, and missing files of heads are told."""

from __future__ import annotations

import dataclasses
import logging
import pickle
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from reenact_zoo.faces.coefficients import LAYOUT
from reenact_zoo.faces.morphable import Region, load_head
from reenact_zoo.faces.renderer import Renderer
from reenact_zoo.methods.dcg_gan import heads, proxies
from reenact_zoo.methods.dcg_gan.config import Config
from reenact_zoo.methods.dcg_gan.flame_proxies import FlameDrawer, FlameFiles
from reenact_zoo.methods.dcg_gan.module import DcgGan
from reenact_zoo.methods.dcg_gan.proxies import ProxyEditor
from reenact_zoo.methods.dcg_gan.proxy_head import ProxyHead
from reenact_zoo.ops.coordinates import normalised_to_pixel
from reenact_zoo.types import InputError
from reenact_zoo.weights.store import WeightsMissing, WeightStore

SIZE = 64
JAW = ProxyHead().expression_names.index("jawOpen")


@pytest.fixture(scope="module")
def editor() -> ProxyEditor:
    config = Config(image_size=SIZE, head="bundled", place_by_landmarks=False)
    return heads.proxy_editor(config, torch.device("cpu"))


def person(seed: int, yaw: float, jaw: float) -> Tensor:
    """(1, 120) somebody who looks to one side with the mouth open so far."""
    random = torch.Generator().manual_seed(seed)
    parts = {kind: torch.zeros(1, size) for kind, size in dataclasses.asdict(LAYOUT).items()}
    for kind, spread in (("shape", 1.0), ("texture", 1.0), ("light", 0.02)):
        parts[kind] = spread * torch.randn(parts[kind].shape, generator=random)
    parts["pose"][:, 0], parts["expression"][:, JAW] = yaw, jaw
    return LAYOUT.join(**parts)


def test_the_bundled_head_has_the_encoders_coefficients_and_neither_hair_nor_teeth(editor: ProxyEditor) -> None:
    head = ProxyHead()
    assert editor.layout == head.layout == LAYOUT
    assert not {int(Region.HAIR), int(Region.TEETH)} & set(head.regions.tolist())
    assert not head.style_names


def test_driving_coefficients_change_pose_and_expression_and_keep_the_identity(editor: ProxyEditor) -> None:
    source, driving = person(1, -20, 0.0), person(2, 25, 0.8)
    mixed = editor.mixed(source, driving)
    s, d, r = (LAYOUT.split(c) for c in (source, driving, mixed))
    head = ProxyHead()
    rest = [torch.zeros(1, LAYOUT.expression), torch.zeros(1, LAYOUT.pose)]
    assert torch.equal(head.vertices(r["shape"], *rest), head.vertices(s["shape"], *rest))  # same bones
    assert torch.equal(head.albedo(r["texture"]), head.albedo(s["texture"]))  # same skin
    assert torch.equal(r["light"], s["light"])
    assert torch.equal(head.head_rotation(r["pose"]), head.head_rotation(d["pose"]))
    drawn = editor.draw(torch.cat([source, mixed, driving]))
    mouth = drawn.landmarks[:, 66, 1] - drawn.landmarks[:, 62, 1]
    assert mouth[0] < 0.03
    assert mouth[1] > 0.1
    faces = drawn.image[:, :, 34:40, 26:38].mean((2, 3))
    assert (faces[1] - faces[0]).abs().mean() < (faces[1] - faces[2]).abs().mean()


def test_what_the_encoder_sees_in_the_proxy_is_the_drivers_pose(editor: ProxyEditor) -> None:
    source, driving = person(1, -20, 0.0), person(2, 25, 0.8)
    coefficients = torch.cat([source, editor.mixed(source, driving), driving])
    drawn = editor.draw(coefficients)
    seen = editor.coefficients(None, drawn.image, drawn.landmarks)
    yaw = [float(part[0]) for part in (LAYOUT.split(seen)["pose"][:, [0]] + LAYOUT.split(seen)["pose"][:, [3]])]
    assert yaw[1] - yaw[0] > 15
    assert abs(yaw[1] - yaw[2]) < 12
    opened = LAYOUT.split(seen)["expression"][:, JAW]
    assert opened[1] > opened[0] + 0.1


def test_estimated_cameras_put_the_proxy_where_the_face_is(editor: ProxyEditor) -> None:
    shown = person(3, 10, 0.2)
    shown[:, -30:-27] = torch.tensor([[-0.3, 0.25, -0.15]])  # smaller, to the right and down
    drawn = editor.draw(shown)
    again = editor.draw(editor.coefficients(None, drawn.image, drawn.landmarks))
    width = drawn.landmarks[0, :, 0].max() - drawn.landmarks[0, :, 0].min()
    assert (again.landmarks - drawn.landmarks).mean(1).norm() < 0.12 * width


def test_landmarks_correct_the_camera_and_nothing_else(editor: ProxyEditor) -> None:
    true = torch.cat([person(3, 10, 0.2), person(4, -15, 0.0)])
    LAYOUT.split(true)["camera"].copy_(torch.tensor([[-0.3, 0.25, -0.15], [0.1, -0.1, 0.05]]))
    aim = editor.draw(true).landmarks
    off = true.clone()
    LAYOUT.split(off)["camera"].add_(torch.tensor([0.2, -0.1, 0.12]))
    placing = ProxyEditor(editor.drawer, SIZE, place_by_landmarks=True)
    images = torch.zeros(2, 3, SIZE, SIZE)
    assert torch.allclose(placing.coefficients(off, images, aim), true, atol=1e-4)
    assert torch.equal(editor.coefficients(off, images, aim), off)


def test_a_proxy_does_not_depend_on_its_neighbours(editor: ProxyEditor) -> None:
    coefficients = torch.cat([person(i, 5.0 * i, 0.1 * i) for i in range(3)])
    together = editor.draw(coefficients, one_by_one=True)
    for i in range(3):
        alone = editor.draw(coefficients[i : i + 1], one_by_one=True)
        assert torch.equal(alone.image[0], together.image[i])
        assert torch.equal(alone.landmarks[0], together.landmarks[i])
    assert torch.allclose(editor.draw(coefficients).image, together.image, atol=0.05)


def test_a_row_without_a_face_has_no_landmarks_and_spoils_no_other(editor: ProxyEditor) -> None:
    coefficients = torch.cat([person(1, 0, 0), person(2, 0, 0)])
    spoilt = coefficients.clone()
    spoilt[0, 5] = torch.nan
    drawn, whole = editor.draw(spoilt), editor.draw(coefficients)
    assert drawn.landmarks[0].isnan().all()
    assert drawn.image.isfinite().all()
    assert torch.equal(drawn.image[1], whole.image[1])


def test_coefficients_of_another_head_are_estimated_again_and_said_once(
    editor: ProxyEditor, caplog: pytest.LogCaptureFixture
) -> None:
    proxies.say_once.cache_clear()
    drawn = editor.draw(torch.cat([person(1, 15, 0.3), person(2, -15, 0.3)]))
    own = editor.coefficients(None, drawn.image, drawn.landmarks)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            found = editor.coefficients(torch.zeros(2, 236), drawn.image, drawn.landmarks)
    assert torch.equal(found, own)
    assert [r.message for r in caplog.records if "236 numbers" in r.message and "are 120" in r.message] != []
    assert len(caplog.records) == 1
    assert torch.equal(editor.coefficients(own + 1, drawn.image, drawn.landmarks), own + 1)  # its own are taken


@pytest.mark.slow
def test_the_bundled_head_draws_what_the_full_reduced_head_draws(editor: ProxyEditor) -> None:
    try:
        reduced = load_head("ict_reduced")
    except WeightsMissing as error:
        pytest.skip(str(error))
    coefficients = torch.cat([person(i, 10.0 * i - 20, 0.2 * i) for i in range(5)])
    drawn = editor.draw(coefficients)
    truth = Renderer(reduced, SIZE, shadows=False, texture_size=proxies.TEXELS).render(coefficients)
    assert (drawn.image - truth.image).abs().mean() < 0.005
    distance = (drawn.landmarks - truth.landmarks).norm(dim=-1)
    assert distance[:, 17:].max() < 0.005
    assert distance.mean() < 0.005  # contour points slide over candidates that the coarse mesh has fewer of


def test_geometry_is_measured_in_radians_as_deca_has_it(editor: ProxyEditor) -> None:
    drawn = editor.draw(person(1, 20, 0.0))
    points_px = normalised_to_pixel(drawn.landmarks, SIZE, SIZE)
    degrees, radians = (LAYOUT.split(f(drawn.image, points_px)) for f in (editor.estimate, editor.compared))
    assert torch.allclose(torch.rad2deg(radians["pose"]), degrees["pose"], atol=1e-4)
    assert torch.equal(radians["expression"], degrees["expression"])


def test_geometry_reaches_the_picture_through_the_encoder(editor: ProxyEditor) -> None:
    drawn = editor.draw(person(1, 20, 0.0))
    image = drawn.image.requires_grad_()
    editor.compared(image, normalised_to_pixel(drawn.landmarks, SIZE, SIZE)).sum().backward()
    assert image.grad is not None
    assert image.grad.abs().sum() > 0


# --- files that lack ------------------------------------------------------------------------------------------------


@pytest.fixture
def bare_store(tmp_path: Path) -> WeightStore:
    return WeightStore(tmp_path, licence="research")


def test_without_flame_it_runs_with_the_bundled_head_and_says_so_once(
    bare_store: WeightStore, caplog: pytest.LogCaptureFixture
) -> None:
    proxies.say_once.cache_clear()
    with caplog.at_level(logging.WARNING):
        names = [heads.chosen_head(Config(), bare_store) for _ in range(2)]
    assert names == ["bundled", "bundled"]
    assert len(caplog.records) == 1
    assert "bundled head" in caplog.text
    assert DcgGan(dataclasses.replace(Config.tiny(), head="auto")).config.head in ("bundled", "flame")


def test_flame_asked_for_names_files_licences_and_where_to_register(bare_store: WeightStore) -> None:
    with pytest.raises(InputError) as caught:
        heads.chosen_head(Config(head="flame"), bare_store)
    message = str(caught.value)
    for part in ("generic_model.pkl", "deca_model.tar", "landmark_embedding.npy", "https://flame.is.tue.mpg.de"):
        assert part in message
    assert message.count("non-commercial") >= 3
    assert "\n" not in message


class Malicious:
    def __reduce__(self) -> Any:
        return (print, ("this code must never run",))


def test_a_flame_pickle_that_wants_to_run_code_is_refused(
    bare_store: WeightStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "generic_model.pkl"
    model.write_bytes(pickle.dumps({"v_template": Malicious()}))
    files = FlameFiles(str(model), str(tmp_path / "landmark_embedding.npy"))
    with pytest.raises(InputError, match=r"refused to load generic_model\.pkl"):
        FlameDrawer(files, SIZE, bare_store, torch.device("cpu"), encoder=cast(Any, object()))
    assert "never run" not in capsys.readouterr().out

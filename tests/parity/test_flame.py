"""FLAME against the published layer (golden data with synthetic arrays), and its files' exact formats."""

from __future__ import annotations

import io
import pickle
import sys
import types
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reenact_zoo.faces.morphable import Region, load_head
from reenact_zoo.faces.morphable._flame_files import FlameArrays, LandmarkEmbedding, read_embedding, read_flame
from reenact_zoo.faces.morphable._palette import TEXTURE_NAMES
from reenact_zoo.faces.morphable.flame import FlameHead, contour_row, rodrigues
from reenact_zoo.types import InputError

VERTICES, TRIANGLES, JOINTS = 300, 500, 5


def rng(name: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(f"flame.{name}".encode()))


def noise(name: str, shape: tuple[int, ...]) -> np.ndarray:
    return rng(name).standard_normal(shape)


def synthetic() -> dict[str, Any]:
    """The golden's synthetic arrays, by FLAME's own names; float32, as the published layer holds them."""
    regressor = np.abs(noise("J_regressor", (JOINTS, VERTICES)))
    weights = np.exp(2 * noise("weights", (VERTICES, JOINTS)))
    arrays = {
        "v_template": 0.1 * noise("v_template", (VERTICES, 3)),
        "shapedirs": 0.01 * noise("shapedirs", (VERTICES, 3, 400)),
        "posedirs": 0.01 * noise("posedirs", (VERTICES, 3, 36)),
        "J_regressor": regressor / regressor.sum(axis=1, keepdims=True),
        "weights": weights / weights.sum(axis=1, keepdims=True),
        "f": rng("f").integers(0, VERTICES, (TRIANGLES, 3)),
        "kintree_table": np.array([[4294967295, 0, 1, 1, 1], [0, 1, 2, 3, 4]], dtype=np.int64),
    }
    return {k: v.astype(np.float32).astype(np.float64) if v.dtype == np.float64 else v for k, v in arrays.items()}


def embedding() -> dict[str, np.ndarray]:
    result = {}
    for name, shape in (("static", (51,)), ("dynamic", (79, 17)), ("full", (1, 68))):
        result[f"{name}_lmk_faces_idx"] = rng(f"{name}_lmk_faces_idx").integers(0, TRIANGLES, shape)
        weights = np.abs(noise(f"{name}_lmk_bary_coords", (*shape, 3)))
        result[f"{name}_lmk_bary_coords"] = weights / weights.sum(axis=-1, keepdims=True)
    return result


@pytest.fixture(scope="module")
def head() -> FlameHead:
    a, e = synthetic(), embedding()
    arrays = FlameArrays(
        a["v_template"],
        a["f"],
        a["shapedirs"],
        a["posedirs"],
        a["J_regressor"],
        a["weights"],
        np.array([-1, 0, 1, 1, 1]),
    )
    names = ("static_lmk_faces_idx", "static_lmk_bary_coords", "dynamic_lmk_faces_idx", "dynamic_lmk_bary_coords")
    return FlameHead(arrays, LandmarkEmbedding(*(e[name] for name in names)), contour="deca")


@pytest.fixture
def expected(golden: Path) -> dict[str, torch.Tensor]:
    with np.load(golden / "flame_deca_geometry.npz", allow_pickle=False) as data:
        wanted = [n for n in data.files if n.startswith(("in_", "a_", "b_", "lbs_", "rodrigues")) and "__" not in n]
        return {name: torch.from_numpy(data[name]).float() for name in wanted}


@pytest.mark.parametrize("case", ["a", "b"])
def test_vertices_and_landmarks_agree_with_the_published_layer(
    head: FlameHead, expected: dict[str, torch.Tensor], case: str
) -> None:
    eyes = expected["in_eye"] if case == "a" else None
    vertices = head.vertices(expected["in_shape"], expected["in_exp"], expected["in_pose"], eyes)
    # float32 sums over 150 directions in another order
    assert torch.allclose(vertices[:, ::2] / 100, expected[f"{case}_vertices"], atol=2e-6)
    points = head.landmarks(vertices, expected["in_pose"])
    assert torch.allclose(points / 100, expected[f"{case}_lmk2d"], atol=2e-6)


def test_joints_agree_with_the_published_layer(head: FlameHead, expected: dict[str, torch.Tensor]) -> None:
    inputs = (expected[name] for name in ("in_shape", "in_exp", "in_pose", "in_eye"))
    vertices, joints = head.skin(*inputs)
    assert torch.allclose(joints / 100, expected["lbs_joints"], atol=2e-6)
    assert torch.allclose(vertices[:, ::2] / 100, expected["lbs_vertices"], atol=2e-6)


def test_rotations_of_zero_and_of_anything_are_rotations(expected: dict[str, torch.Tensor]) -> None:
    assert torch.allclose(rodrigues(torch.zeros(1, 1, 3))[0], expected["rodrigues_of_zero"], atol=1e-7)
    r = rodrigues(torch.randn(5, 3, 3))
    assert torch.allclose(r @ r.mT, torch.eye(3).expand_as(r), atol=1e-5)
    assert torch.allclose(torch.linalg.det(r), torch.ones(5, 3), atol=1e-5)


def test_contour_rows_follow_the_angle_and_the_two_codes_mirror_each_other() -> None:
    def row(degrees: float, sign: float) -> int:
        rotation = rodrigues(torch.tensor([[[0.0, np.radians(degrees), 0.0]]]))[:, 0]
        return int(contour_row(rotation, sign))

    assert [row(d, 1.0) for d in (0, 10, 39, 60, -10, -39, -60)] == [0, 10, 39, 39, 49, 78, 78]
    assert row(25, -1.0) == row(-25, 1.0) == 64


class FakeChumpy(types.ModuleType):
    """Just enough of chumpy and of an old SciPy to write pickles as FLAME's were written."""

    def __init__(self, name: str, class_name: str) -> None:
        super().__init__(name)
        cls = type(class_name, (), {"__module__": name})
        setattr(self, class_name, cls)


def flame_pickle(path: Path, monkeypatch: pytest.MonkeyPatch, style: str) -> None:
    """A model file: "2020" wraps arrays in chumpy objects and a sparse regressor, "2023" has plain arrays."""
    data: dict[str, Any] = {**synthetic(), "bs_style": "lbs", "bs_type": "lrotmin"}
    if style == "2020":
        from scipy.sparse import csc_matrix

        chumpy, old_scipy = FakeChumpy("chumpy.ch", "Ch"), FakeChumpy("scipy.sparse.csc", "csc_matrix")
        for module in (types.ModuleType("chumpy"), chumpy, old_scipy):
            monkeypatch.setitem(sys.modules, module.__name__, module)
        for name in ("v_template", "shapedirs", "posedirs", "weights"):
            wrapped = chumpy.Ch()
            wrapped.__dict__.update(x=data[name], _dirty_vars=set(), dterms=("x",))
            data[name] = wrapped
        dense = csc_matrix(data["J_regressor"])
        sparse = old_scipy.csc_matrix()
        sparse.__dict__.update(
            _shape=dense.shape, data=dense.data, indices=dense.indices, indptr=dense.indptr, maxprint=50
        )
        data["J_regressor"] = sparse
    buffer = io.BytesIO()
    pickle.dump(data, buffer, protocol=2)
    path.write_bytes(buffer.getvalue())


@pytest.mark.parametrize("style", ["2020", "2023"])
def test_a_pickle_in_flames_format_gives_the_same_model(
    head: FlameHead, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, style: str
) -> None:
    model, points = tmp_path / "generic_model.pkl", tmp_path / "landmark_embedding.npy"
    flame_pickle(model, monkeypatch, style)
    np.save(points, np.array(embedding(), dtype=object), allow_pickle=True)
    loaded = load_head("flame", model=model, landmarks=points, contour="deca")
    assert isinstance(loaded, FlameHead)
    assert loaded.layout.total == 100 + len(TEXTURE_NAMES) + 50 + 6 + 3 + 27
    people = loaded.sample(torch.Generator().manual_seed(0), 2)
    parts = loaded.layout.split(people)
    pose = 0.2 * torch.randn(2, 6, generator=torch.Generator().manual_seed(1))
    mine, theirs = (h.vertices(parts["shape"], parts["expression"], pose) for h in (loaded, head))
    assert torch.allclose(mine, theirs, atol=1e-5)
    assert torch.allclose(loaded.landmarks(mine, pose), head.landmarks(theirs, pose), atol=1e-5)


def test_an_object_with_a_slot_for_code_in_the_old_protocol_is_rebuilt_as_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python 2 wrote chumpy objects through copy_reg._reconstructor where protocol 0 was used."""
    chumpy = FakeChumpy("chumpy.ch", "Ch")
    for module in (types.ModuleType("chumpy"), chumpy):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    data: dict[str, Any] = synthetic()
    wrapped = chumpy.Ch()
    wrapped.__dict__["x"] = data["v_template"]
    data["v_template"] = wrapped
    path = tmp_path / "old.pkl"
    path.write_bytes(pickle.dumps(data, protocol=0))
    assert np.array_equal(read_flame(path).template, synthetic()["v_template"])


class Malicious:
    def __reduce__(self) -> Any:
        return (print, ("this code must never run",))


def test_a_pickle_that_wants_to_run_code_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "generic_model.pkl"
    path.write_bytes(pickle.dumps({**synthetic(), "v_template": Malicious()}, protocol=2))
    with pytest.raises(InputError, match="refused to load"):
        read_flame(path)
    npy = tmp_path / "landmark_embedding.npy"
    np.save(npy, np.array({"static_lmk_faces_idx": Malicious()}, dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="refused to load"):
        read_embedding(npy)
    assert "never run" not in capsys.readouterr().out


def test_a_file_of_another_kind_says_what_it_lacks(tmp_path: Path) -> None:
    path = tmp_path / "smpl.pkl"
    path.write_bytes(pickle.dumps({"v_template": np.zeros((3, 3))}))
    with pytest.raises(InputError, match="lacks f, shapedirs"):
        read_flame(path)
    with pytest.raises(InputError, match="no such file"):
        read_flame(tmp_path / "absent.pkl")


def test_a_texture_file_gives_236_coefficients_and_its_own_atlas(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, points, texture = tmp_path / "m.pkl", tmp_path / "l.npy", tmp_path / "FLAME_texture.npz"
    flame_pickle(model, monkeypatch, "2023")
    np.save(points, np.array(embedding(), dtype=object), allow_pickle=True)
    mean = np.zeros((16, 16, 3))
    mean[..., 0] = 51.0  # blue, in the file's BGR
    directions = np.zeros((16, 16, 3, 200))
    directions[..., 2, 0] = 25.5  # the first direction adds red
    uv = np.random.default_rng(0).random((40, 2))
    np.savez(texture, mean=mean, tex_dir=directions, vt=uv, ft=rng("ft").integers(0, 40, (TRIANGLES, 3)))
    loaded = load_head("flame", model=model, landmarks=points, texture=texture)
    assert loaded.layout.total == 236
    coefficients = torch.zeros(2, 50)
    coefficients[1, 0] = 3.0
    atlas = loaded.albedo(coefficients, 32)
    assert torch.allclose(atlas[0, :, 5, 5], torch.tensor([0.0, 0.0, 0.2]), atol=1e-6)
    assert torch.allclose(atlas[1, :, 5, 5], torch.tensor([0.3, 0.0, 0.2]), atol=1e-6)
    assert loaded.uv[:, 1].tolist() == pytest.approx((1 - uv[:, 1]).tolist(), abs=1e-6)


def test_painted_flame_has_the_interface_of_the_others(head: FlameHead) -> None:
    people = head.sample(torch.Generator().manual_seed(0), 2)
    assert people.shape == (2, head.layout.total)
    atlas = head.albedo(head.layout.split(people)["texture"], 64)
    assert atlas.shape == (2, 3, 64, 64)
    assert 0 <= atlas.min() <= atlas.max() <= 1
    assert head.uv_triangles.shape == head.triangles.shape
    assert set(head.regions.tolist()) <= {int(r) for r in Region}
    rotation = head.head_rotation(torch.tensor([[0.0, 0.5, 0.0, 0.3, 0.0, 0.0]]))
    assert rotation[0, 0, 2] == pytest.approx(np.sin(0.5), abs=1e-6)
    assert torch.equal(head.to("cpu").template, head.template)

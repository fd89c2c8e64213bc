"""FD-GAN's parts: drawn landmarks, dictionaries, U-Nets, patch networks, losses, who drives whom, remembered faces."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from reenact_zoo.methods.ldnet_fdgan import fd_losses
from reenact_zoo.methods.ldnet_fdgan.dictionary import Address, DictionaryReader, DictionaryWriter, entropy, places
from reenact_zoo.methods.ldnet_fdgan.driving import estimated
from reenact_zoo.methods.ldnet_fdgan.fd_networks import DownPath, Extractor, PatchNetwork, Translator
from reenact_zoo.methods.ldnet_fdgan.landmark_maps import CHANNELS, NUM_MAPS, as_picture, landmark_maps
from reenact_zoo.methods.ldnet_fdgan.memory import LandmarkMemory
from reenact_zoo.methods.ldnet_fdgan.stages import alternate
from reenact_zoo.testing import synthetic_batch
from reenact_zoo.types import InputError, PairBatch

WIDTHS = (8, 8, 16, 16)
SLOTS = {8: 4, 16: 8, 32: 16}


@pytest.fixture(scope="module")
def points() -> Tensor:
    return synthetic_batch(64, 2, ["source_landmarks"])["source_landmarks"]


# --- landmark maps ------------------------------------------------------------------------------------------------


def test_lines_pass_through_their_landmarks_and_nothing_else(points: Tensor) -> None:
    maps = landmark_maps(points, (64, 64))
    assert maps.shape == (2, NUM_MAPS, 64, 64)
    assert maps.min() >= 0
    assert maps.max() <= 1
    grid = points[:, :, None]
    seen = torch.nn.functional.grid_sample(maps, grid, align_corners=False)[..., 0]  # (B, channels, 68)
    parts = {"contour": (0, 17), "brows": (17, 27), "nose": (27, 36), "eyes": (36, 48), "outer_lips": (48, 60)}
    for name, (begin, stop) in parts.items():
        assert seen[:, CHANNELS.index(name), begin:stop].min() > 0.4, name
    assert seen[:, CHANNELS.index("contour"), 36:48].max() == 0  # eyes are not on the contour


def test_a_line_is_where_it_should_be_to_a_tenth_of_a_pixel() -> None:
    points = torch.zeros(1, 68, 2)
    points[0, :17, 0] = torch.linspace(-1, 1, 17)
    points[0, :17, 1] = (2 * 10.0 + 1) / 32 - 1  # through the centres of row 10
    contour = landmark_maps(points, (32, 32), line_width=1.5)[0, 0]
    assert torch.allclose(contour[10], torch.ones(32))
    assert torch.allclose(contour[9], torch.full((32,), 0.25), atol=1e-4)
    assert torch.allclose(contour[11], contour[9], atol=1e-4)
    assert contour[[8, 12]].max() == 0


def test_points_that_coincide_draw_a_dot_and_a_missing_face_nothing(points: Tensor) -> None:
    closed = points.clone()
    closed[0, 36:42] = closed[0, 36]
    closed[0, 42:48] = closed[0, 36]
    closed[1] = torch.nan
    maps = landmark_maps(closed, (64, 64))
    assert 0 < maps[0, CHANNELS.index("eyes")].sum() < 10
    assert maps[1].isnan().all()
    assert as_picture(maps).shape == (2, 1, 64, 64)


# --- dictionaries -------------------------------------------------------------------------------------------------


def test_scores_are_cosines_over_a_temperature_of_a_tenth() -> None:
    torch.manual_seed(0)
    address = Address(6, 16, 16)
    assert address.temperature.item() == pytest.approx(0.1)
    keys = address.keys.detach()
    assert torch.allclose(keys @ keys.mT, torch.eye(16), atol=1e-5), "keys start orthogonal"
    scores = address(torch.randn(2, 6, 8, 8))
    assert scores.shape == (2, 16, 64)
    assert scores.abs().max() <= 10 + 1e-4
    assert scores.std() > 0.5
    assert torch.allclose(address(torch.zeros(1, 6, 8, 8) + 3), address(torch.zeros(1, 6, 8, 8)), atol=1e-3)


def test_a_fresh_dictionary_tells_places_apart_and_lets_gradients_through() -> None:
    torch.manual_seed(0)
    writer, reader = DictionaryWriter(16, 32, 32), DictionaryReader(16, 32, 32)
    x = torch.randn(4, 16, 16, 16)
    values = writer(x)
    read = reader(torch.randn(4, 16, 16, 16), values)
    assert values.shape == (4, 32, 16)
    assert read.shape == x.shape
    assert writer.entropy is not None
    assert reader.entropy is not None
    assert reader.usage is not None
    assert writer.entropy < 0.9, "every slot attends everywhere alike"
    assert reader.entropy < 0.9
    assert reader.usage > 0.7
    read.square().mean().backward()
    moved = [writer.address.keys, writer.value.weight, reader.address.keys, reader.address.log_temperature]
    assert all(p.grad is not None and p.grad.abs().max() > 1e-7 for p in moved)


def test_what_is_written_does_not_depend_on_where_it_lay() -> None:
    """With the places' part of the query at zero a shuffled picture gives the same dictionary."""
    torch.manual_seed(0)
    writer = DictionaryWriter(6, 8, 8)
    with torch.no_grad():
        writer.address.query.weight[:, 6:] = 0
    x = torch.randn(1, 6, 8, 8)
    shuffled = x.flatten(2)[..., torch.randperm(64)].view_as(x)
    assert torch.allclose(writer(x), writer(shuffled), atol=1e-5)
    # and values are means of features: of a constant picture, the constant's value
    constant = torch.randn(1, 6, 1, 1).expand(-1, -1, 8, 8)
    own = writer.value(constant)[:, :, 0, 0]
    assert torch.allclose(writer(constant), own[:, None].expand(-1, 8, -1), atol=1e-5)


def test_a_reader_gives_each_place_a_mean_of_entries() -> None:
    torch.manual_seed(0)
    reader = DictionaryReader(6, 8, 8)
    same = torch.randn(2, 1, 5).expand(-1, 8, -1)
    read = reader(torch.randn(2, 6, 4, 4), same)
    assert torch.allclose(read, same[:, 0, :, None, None].expand(-1, -1, 4, 4), atol=1e-5)


def test_entropy_is_a_share_of_the_largest() -> None:
    assert entropy(torch.full((1, 4, 3), 0.25), 1).item() == pytest.approx(1)
    assert entropy(torch.eye(4)[None], 1).item() == pytest.approx(0)
    half = torch.tensor([0.5, 0.5, 0, 0]).view(1, 4, 1)
    assert entropy(half, 1).item() == pytest.approx(math.log(2) / math.log(4))


def test_every_place_has_its_own_coordinates() -> None:
    grid = places(8, 8, torch.zeros(1)).flatten(1)
    assert torch.pdist(grid.mT).min() > 0.1


# --- networks -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", ["group", "instance"])
@pytest.mark.parametrize("dictionary", [True, False])
def test_the_translator_paints_what_the_extractor_saw(dictionary: bool, norm: str) -> None:
    torch.manual_seed(0)
    extractor = Extractor(NUM_MAPS, 64, WIDTHS, SLOTS, 8, norm, dictionary)
    translator = Translator(NUM_MAPS, 64, WIDTHS, SLOTS, 8, norm, dictionary, last=8, blend=True)
    images, maps = torch.rand(2, 3, 64, 64), torch.rand(2, NUM_MAPS, 64, 64)
    entries = extractor(images, maps)
    assert {side: tuple(v.shape[1:]) for side, v in entries.items()} == (
        {8: (4, 16), 16: (8, 8), 32: (16, 8)} if dictionary else {8: (16, 8, 8), 16: (8, 16, 16), 32: (8, 32, 32)}
    )
    picture, share = translator(maps, entries)
    assert share is not None
    assert picture.shape == (2, 3, 64, 64)
    assert share.shape == (2, 1, 64, 64)
    assert 0 <= picture.min() <= picture.max() <= 1
    picture.square().mean().backward()
    unused = [name for name, p in extractor.named_parameters() if p.grad is None]
    assert not unused
    other, _ = translator(maps, extractor(images.flip(0), maps))
    assert (other - picture).abs().mean() > 1e-3, "the source does not reach the picture"


def test_the_extractor_ends_at_its_last_dictionary() -> None:
    extractor = Extractor(NUM_MAPS, 64, WIDTHS, {8: 4}, 8)
    assert len(extractor.up) == 1
    assert list(extractor.writers) == ["8"]


def test_the_patch_networks_are_the_down_path_with_a_head() -> None:
    discriminator = PatchNetwork(3 + NUM_MAPS, 1, (4, 8), spectral=True)
    classifier = PatchNetwork(3, 7, (4, 8), narrow=4)
    assert isinstance(discriminator.down, DownPath)
    assert isinstance(Extractor(NUM_MAPS, 64, WIDTHS, SLOTS, 8).down, DownPath)
    scores, kept = discriminator(torch.rand(2, 3 + NUM_MAPS, 64, 64))
    assert scores.shape == (2, 1, 16, 16)
    assert [tuple(k.shape[1:]) for k in kept] == [(4, 32, 32), (8, 16, 16)]
    assert classifier(torch.rand(2, 3, 64, 64))[0].shape == (2, 7, 16, 16)


def test_spectral_norm_bounds_every_layer() -> None:
    torch.manual_seed(0)
    network = PatchNetwork(3, 1, (4, 8), spectral=True)
    for _ in range(20):
        network(torch.rand(1, 3, 16, 16))
    for layer in [network.down.layers[0][0], network.down.layers[1][0], network.head[-1]]:
        assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1, abs=0.05)


# --- losses and sampling ------------------------------------------------------------------------------------------


def test_least_squares_terms_are_zero_where_they_should_be() -> None:
    one, zero = torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)
    assert fd_losses.telling_apart(one, zero) == 0
    assert fd_losses.telling_apart(zero, one) == 1
    assert fd_losses.fooling(one) == 0
    assert fd_losses.fooling(zero) == 1


def test_identity_terms_are_those_of_the_predecessor() -> None:
    logits = torch.zeros(2, 4, 3, 3)
    people = torch.tensor([1, 3])
    assert fd_losses.naming(logits, people).item() == pytest.approx(math.log(4))
    assert fd_losses.not_naming(logits, people).item() == pytest.approx(-math.log(3 / 4))
    logits[0, 1] = logits[1, 3] = 50
    assert fd_losses.naming(logits, people) < 1e-6
    assert 10 < fd_losses.not_naming(logits, people) < 20  # large, and finite
    assert fd_losses.not_naming(logits, people - 1) < 1e-6


def test_features_are_pulled_to_the_real_ones_alone() -> None:
    made, real = torch.zeros(1, 2, 2, 2, requires_grad=True), torch.ones(1, 2, 2, 2, requires_grad=True)
    distance = fd_losses.feature_matching([made, made], [real, real])
    assert distance == 1
    distance.backward()
    assert made.grad is not None
    assert real.grad is None


def test_cross_pairs_join_two_people_and_self_pairs_one() -> None:
    same = torch.tensor([True, True, True, False])
    source, driving = torch.tensor([0, 0, 1, 2]), torch.tensor([0, 0, 1, 5])
    rows = fd_losses.sample_rows(same, source, driving, 1.0)
    assert rows.paired.tolist() == [0, 1, 2]
    assert list(zip(rows.cross_source.tolist(), rows.cross_driving.tolist())) == [(3, 3), (1, 2), (2, 3)]
    assert rows.sources().tolist() == [0, 1, 2, 3, 1, 2]
    none = fd_losses.sample_rows(same, None, None, 1.0)
    assert none.cross_source.tolist() == [3]
    half = fd_losses.sample_rows(torch.ones(8, dtype=torch.bool), torch.arange(8), torch.arange(8), 0.25)
    assert half.cross_source.tolist() == [0, 1]
    assert half.cross_driving.tolist() == [1, 2]


def test_peoples_numbers_are_checked() -> None:
    batch = synthetic_batch(64, 2, ["source_identity", "driving_identity"])
    assert fd_losses.people_of(batch, 2)[0].tolist() == [0, 1]
    with pytest.raises(InputError, match=r"person number 1.*method\.identities=2"):
        fd_losses.people_of(batch, 1)
    lacking: PairBatch = {"source": batch["source"], "driving": batch["driving"], "same_identity": torch.ones(2)}
    with pytest.raises(InputError, match="source_identity"):
        fd_losses.people_of(lacking, 2)


# --- landmarks in training ----------------------------------------------------------------------------------------


def test_steps_between_leave_alone_what_is_fixed() -> None:
    one, two = (torch.nn.Parameter(torch.ones(1)) for _ in range(2))
    two.requires_grad_(False)
    seen = []

    def product() -> dict[str, Tensor]:
        seen.append((one.requires_grad, two.requires_grad))
        return {"product": one * two}

    optimisers = [torch.optim.SGD([p], lr=0.1) for p in (one, two)]
    alternate([(optimiser, product) for optimiser in optimisers], 1)
    assert seen == [(True, False), (False, True)]
    assert (one.requires_grad, two.requires_grad) == (True, False)
    assert one.item() == pytest.approx(0.9)
    assert two.item() == pytest.approx(1 - 0.1 * 0.9)


def test_the_memory_keeps_the_latest_and_pairs_each_person_with_itself() -> None:
    memory = LandmarkMemory(6)
    torch.manual_seed(0)
    for number in range(5):
        memory.add(torch.full((2, 68, 2), float(number)), torch.tensor([number % 2, 7]))
    assert len(memory) == 6
    points, people = memory.draw(200)
    assert points[:, 0, 0].unique().tolist() == [2, 3, 4]
    assert people.unique().tolist() == [0, 1, 7]
    first, second, people = memory.draw_pairs(200)
    of_seven = people == 7
    assert (first != second)[of_seven].any(), "two faces of one person"
    assert second[of_seven][:, 0, 0].unique().tolist() == [2, 3, 4]
    assert set(second[people == 0][:, 0, 0].tolist()) == {2, 4}
    assert set(second[people == 1][:, 0, 0].tolist()) == {3}
    other = LandmarkMemory(6)
    other.load(memory.state())
    other.add(torch.zeros(1, 68, 2), torch.tensor([1]))
    memory.add(torch.zeros(1, 68, 2), torch.tensor([1]))
    assert torch.equal(other.state()["points"], memory.state()["points"])


def test_landmark_noise_is_in_units_of_the_eyes_distance(points: Tensor) -> None:
    points = points[:1].repeat(500, 1, 1)
    torch.manual_seed(0)
    moved = estimated(points, 0.04) - points
    own = moved - moved.mean(1, keepdim=True)
    eyes = (points[0, 36:42].mean(0) - points[0, 42:48].mean(0)).norm()
    assert 0.035 < float(own.std() / eyes) < 0.05
    assert 0.015 < float(moved.mean(1).std() / eyes) < 0.025
    assert estimated(points, 0.0) is points

"""latent_pose as a method: what each network is given, what the losses are, and which weights it asks for."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from reenact_zoo.config import load_train_config, packaged_names
from reenact_zoo.methods.latent_pose import losses, module
from reenact_zoo.methods.latent_pose.background import without_head
from reenact_zoo.methods.latent_pose.config import Config
from reenact_zoo.methods.latent_pose.module import LatentPose
from reenact_zoo.methods.latent_pose.official import official_state
from reenact_zoo.testing import overfit, synthetic_batch
from reenact_zoo.types import InputError, PairBatch
from reenact_zoo.weights.manifest import WeightsMissing

TRAINED: dict[str, Any] = {"background": "black", "lambda_adversarial": 0.1}
TRAINING = {"source_identity", "driving_identity", "driving_matte", "driving_landmarks"}


def build(**changes: Any) -> LatentPose:
    torch.manual_seed(0)
    return LatentPose(dataclasses.replace(Config.tiny(), **changes))


@pytest.fixture(scope="module")
def shared() -> LatentPose:
    return build(**TRAINED)


@pytest.fixture
def method(shared: LatentPose) -> Iterator[LatentPose]:
    """With every loss but that of identity, on black; built once, its configuration is the test's own."""
    shared.config = dataclasses.replace(Config.tiny(), **TRAINED)
    shared.num_updates, shared.max_updates, shared._judges, shared._adversarial_from = 0, None, None, 0
    yield shared.train().requires_grad_(True)
    shared.zero_grad(set_to_none=True)


def pairs(count: int = 2, *more: str) -> PairBatch:
    return synthetic_batch(16, count, {*TRAINING, *more})


def with_entries(batch: PairBatch, **entries: Tensor) -> PairBatch:
    return cast(PairBatch, {**batch, **entries})


def total(parts: dict[str, Tensor]) -> float:
    return float(torch.stack(list(parts.values())).sum().detach())


# --- use ------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_who_comes_from_the_sources_and_how_from_the_driving_frame(method: LatentPose) -> None:
    method.eval()
    batch = pairs(2, "extra_sources")
    state = method.encode_source(batch)
    one, *others = batch["source"], *batch["extra_sources"].unbind(1)
    each = torch.stack([method.embedder.identity_encoder(images) for images in (one, *others)])
    assert len(each) == 3
    torch.testing.assert_close(state["identity"], each.mean(0), rtol=1e-4, atol=1e-5)
    head, segmentation = method.generator(state["identity"], method.embedder.pose_encoder(batch["driving"]))
    output = method(batch)
    torch.testing.assert_close(output.reenacted, (head * segmentation).clamp(0, 1))


@torch.no_grad()
def test_the_background_is_what_is_asked_for(method: LatentPose) -> None:
    method.eval()
    batch = pairs()
    identity = method.encode_source(batch)["identity"]
    head, share = method.generator(identity, method.embedder.pose(batch["driving"]))
    _, own = method.generator(identity, method.embedder.pose(batch["source"]))
    plates = {
        "black": torch.zeros_like(batch["source"]),
        "source": batch["source"],
        "filled": without_head(batch["source"], own),
    }
    for background, plate in plates.items():
        method.config.background = background
        expected = (head * share + (1 - share) * plate).clamp(0, 1)
        torch.testing.assert_close(method(batch).reenacted, expected, atol=1e-5, rtol=0)
    assert (plates["filled"] - batch["source"]).abs().max() > 0.01


def test_too_few_sources_and_other_sizes_are_named(method: LatentPose) -> None:
    batch = pairs()
    with pytest.raises(InputError, match=r"16x16 images, but 'source' is 64x64"):
        method(synthetic_batch(64, 1))
    with pytest.raises(InputError, match=r"16x16 images, but 'driving' is 64x64"):
        method(with_entries(batch, driving=torch.rand(2, 3, 64, 64)))
    method.config.sources = 3
    with pytest.raises(InputError, match=r"needs 2 more images .*'extra_sources'.*sources to 1"):
        method(batch)


# --- weights --------------------------------------------------------------------------------------------------------


@pytest.fixture
def nothing_at_hand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("REENACT_ZOO_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("REENACT_ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("reenact_zoo.methods._weights.bundled", _no_bundled)


def _no_bundled(method: str, image_size: int | None) -> Path:
    raise InputError(f"method '{method}' has to be trained: give its weights with --checkpoint")


@pytest.mark.usefixtures("nothing_at_hand")
@pytest.mark.parametrize("licence", ["permissive", "research"])
def test_the_released_file_is_named_in_one_line(licence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REENACT_ZOO_LICENCE", licence)
    with pytest.raises(WeightsMissing) as caught:
        LatentPose.ready(None, 256)
    for word in ("github.com/shrubb/latent-pose-reenactment", "latent_pose_metamodel.pth", "licence"):
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"has to be trained.*released weights are for 256 px"):
        LatentPose.ready(None, 64)


@pytest.mark.usefixtures("nothing_at_hand")
def test_the_released_checkpoint_is_taken_where_it_is_at_hand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("REENACT_ZOO_LICENCE", "research")
    small = classmethod(lambda cls: dataclasses.replace(Config.tiny(), background="black"))
    monkeypatch.setattr(Config, "released", small)
    made = build(lambda_adversarial=0.0)
    averaged = {"embedder": made.embedder.state_dict(), "generator": official_state(made.generator)}
    latest = {name: {key: torch.zeros_like(value) for key, value in part.items()} for name, part in averaged.items()}
    path = tmp_path / "latent_pose_metamodel.pth"
    torch.save({**latest, "running_averages": averaged, "discriminator": {}}, path)
    method, batch = LatentPose.ready(None, 256, {"background": "source"}), pairs(1)
    assert method.weights_file == path
    assert method.discriminator is None
    with torch.no_grad():
        assert torch.equal(method(batch).reenacted, made.eval()(batch).reenacted)


def test_a_checkpoint_that_does_not_fit_is_refused_and_changes_nothing() -> None:
    method = build()
    before = {key: value.clone() for key, value in method.state_dict().items()}
    good = {"embedder": method.embedder.state_dict(), "generator": official_state(method.generator)}
    doubled = {name: {key: 2 * value for key, value in part.items()} for name, part in good.items()}
    bad = {**doubled, "generator": {k: v for k, v in doubled["generator"].items() if k != "constant.constant"}}
    with pytest.raises(InputError, match=r"'generator' do not fit.*'constant\.constant' .* is missing"):
        method.load_official(bad)
    with pytest.raises(InputError, match="fine-tuned to one person"):
        method.load_official({**good, "generator": {**good["generator"], "identity_embedding": torch.zeros(1, 16)}})
    with pytest.raises(InputError, match="'embedder' is missing"):
        method.load_official({"generator": good["generator"]})
    assert all(torch.equal(value, before[key]) for key, value in method.state_dict().items())


# --- training -------------------------------------------------------------------------------------------------------


def test_ten_updates_bring_the_foreground_and_its_segmentation_nearer() -> None:
    method, batch = build(**{**TRAINED, "background": "filled", "augment": False, "adversarial_start": 0.8}), pairs(1)
    truth = batch["driving"] * batch["driving_matte"]

    @torch.no_grad()
    def distances() -> Tensor:
        aux = method.eval()(batch).aux
        apart = [aux["foreground"] - truth, aux["segmentation"] - batch["driving_matte"]]
        return torch.stack([difference.abs().mean() for difference in apart])

    before = distances()
    assert method.discriminator is not None
    at_start = method.discriminator.linear.bias.clone()
    overfit(method, batch, 10)
    assert (distances() < 0.35 * before).all()
    assert not torch.equal(method.discriminator.linear.bias, at_start)


PARTS = {"colour", "gradient", "dice", "adversarial", "matching", "embedding"}


@pytest.mark.parametrize(
    ("zero", "gone"),
    [
        ((), set()),
        (("lambda_colour", "lambda_dice", "lambda_embedding"), {"colour", "dice", "embedding"}),
        (("lambda_gradient", "lambda_matching"), {"gradient", "matching"}),
    ],
)
def test_losses_of_weight_zero_are_gone_and_the_others_stay(
    method: LatentPose, zero: tuple[str, ...], gone: set[str]
) -> None:
    method.config = dataclasses.replace(method.config, **dict.fromkeys(zero, 0.0))
    assert method._generator_losses(pairs(), {}).keys() == PARTS - gone


@pytest.mark.parametrize(
    ("field", "gone"),
    [("lambda_adversarial", {"adversarial", "matching", "embedding"}), ("identities", {"embedding"})],
)
def test_without_discriminator_or_persons_nothing_asks_for_them(field: str, gone: set[str]) -> None:
    assert build(**{**TRAINED, field: 0})._generator_losses(pairs(), {}).keys() == PARTS - gone


def test_the_identity_loss_looks_through_the_training_network(method: LatentPose) -> None:
    method.config.lambda_identity = 0.1
    found = method._generator_losses(pairs(), {})
    assert found.keys() == PARTS | {"identity"}
    assert 0 < found["identity"] < 0.2
    assert method.instruments == ("synthetic_identity_train",)


def test_training_on_whole_frames_has_no_segmentation_loss(method: LatentPose) -> None:
    method.config.background = "source"
    assert method._generator_losses(pairs(), {}).keys() == PARTS - {"dice"}


def test_each_phase_reaches_its_own_networks(method: LatentPose) -> None:
    batch, shared = pairs(), cast(dict[str, Any], {})
    assert method.discriminator is not None
    method.discriminator.requires_grad_(False)
    torch.stack(list(method._generator_losses(batch, shared).values())).sum().backward()
    for network in (method.embedder, method.generator):
        assert all(p.grad is not None for p in network.parameters())
    method.discriminator.requires_grad_(True)
    method.zero_grad(set_to_none=True)
    torch.stack(list(method._discriminator_losses(batch, shared).values())).sum().backward()
    assert all(p.grad is not None for p in method.discriminator.parameters())
    assert all(p.grad is None for p in (*method.embedder.parameters(), *method.generator.parameters()))


def test_the_discriminator_begins_with_its_share_of_the_training(method: LatentPose) -> None:
    method.config.adversarial_start, method.max_updates, batch = 0.5, 10, pairs()
    assert {phase.name: phase.start for phase in method.phases()} == {"generator": 0, "discriminator": 5}
    shared: dict[str, Any] = {}
    assert "adversarial" not in method._generator_losses(batch, shared)
    assert total(method._discriminator_losses(batch, shared)) == 0
    method.num_updates = 5
    assert "adversarial" in method._generator_losses(batch, shared)


def test_pairs_of_two_persons_are_left_out(method: LatentPose) -> None:
    batch = pairs(3)
    other = with_entries(batch, same_identity=torch.tensor([True, False, True]))
    pair = method._pair(other)
    assert pair is not None
    assert pair.labels.tolist() == [0, 2]
    alone = with_entries(batch, same_identity=torch.zeros(3, dtype=torch.bool))
    shared: dict[str, Any] = {}
    assert total(method._generator_losses(alone, shared)) == total(method._discriminator_losses(alone, shared)) == 0


def test_training_names_what_it_lacks(method: LatentPose) -> None:
    method.config.lambda_identity = 0.1
    for key, advice in (("driving_matte", "background=source"), ("driving_landmarks", "lambda_identity=0")):
        lacking = cast(PairBatch, {name: value for name, value in pairs().items() if name != key})
        with pytest.raises(InputError, match=rf"trained with '{key}'.*{advice}"):
            method._generator_losses(lacking, {})


def test_a_person_the_discriminator_does_not_know_is_named(method: LatentPose) -> None:
    with pytest.raises(InputError, match=r"identity number 4.*knows 4.*set identities"):
        method._generator_losses(with_entries(pairs(2), source_identity=torch.tensor([0, 4])), {})


def test_only_the_pose_encoder_sees_the_altered_frame(method: LatentPose) -> None:
    method.config.background, batch, seen = "source", pairs(4), []
    torch.manual_seed(0)
    pair = method._pair(batch)
    assert pair is not None
    assert torch.equal(pair.truth, batch["driving"])
    assert torch.equal(pair.sources[:, 0], batch["source"])
    assert not torch.allclose(pair.pose, batch["driving"], atol=1e-3)
    handle = method.embedder.pose_encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    torch.manual_seed(0)
    method._generator_losses(batch, {})
    handle.remove()
    assert len(seen) == 1
    assert torch.equal(seen[0], pair.pose)
    method.config.augment = False
    plain = method._pair(batch)
    assert plain is not None
    assert torch.equal(plain.pose, batch["driving"])


def test_the_truth_is_on_black_and_what_the_pose_encoder_sees_is_not(method: LatentPose) -> None:
    method.config.augment, batch = False, pairs(2)
    pair = method._pair(batch)
    assert pair is not None
    assert torch.equal(pair.truth, batch["driving"] * batch["driving_matte"])
    assert torch.equal(pair.pose, batch["driving"])


def test_landmarks_of_the_identity_loss_move_with_the_truth(
    method: LatentPose, monkeypatch: pytest.MonkeyPatch
) -> None:
    shift = torch.tensor([[0.1, 0.0], [0.0, -0.2]])
    monkeypatch.setattr(module, "shifted_together", lambda *images: (list(images), shift))
    method.config.lambda_identity, batch = 0.1, pairs(2)
    pair = method._pair(batch)
    assert pair is not None
    assert pair.landmarks is not None
    torch.testing.assert_close(pair.landmarks - batch["driving_landmarks"], shift[:, None].expand(2, 68, 2))


def test_what_was_made_teaches_no_vector_of_a_person(method: LatentPose, monkeypatch: pytest.MonkeyPatch) -> None:
    batch, shared = pairs(2), cast(dict[str, Any], {})
    method._generator_losses(batch, shared)
    monkeypatch.setattr(losses, "telling_apart", lambda real, made: made.sum())
    method._discriminator_losses(batch, shared)["hinge"].backward()
    assert method.discriminator is not None
    assert method.discriminator.persons is not None
    assert method.discriminator.linear.bias.grad is not None
    assert all(p.grad is None for p in method.discriminator.persons.parameters())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"background": "sorce"}, "did you mean 'source'"),
        ({"image_size": 48}, "image_size"),
        ({"base_width": 12}, "multiple of norm_group"),
        ({"encoder_width": 12}, "multiple of 8"),
        ({"adversarial_start": 2.0}, "share"),
        ({"sources": 0}, "sources"),
    ],
)
def test_a_choice_that_cannot_work_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        build(**changes)


@pytest.mark.parametrize("name", sorted(name for name in packaged_names() if name.startswith("latent_pose")))
def test_every_configuration_is_read(name: str) -> None:
    config = load_train_config(name)
    assert config.method == "latent_pose"
    assert config.method_config.image_size == config.settings.image_size

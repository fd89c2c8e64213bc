"""What LD-Net separates, on people it never saw: python benchmarks/ldnet_proof.py --out benchmarks/results/ldnet

Trains LD-Net and three ablations on landmarks of synthetic people (no pictures; three to five minutes of one core each)
and writes one JSON and one Markdown table. Every number is on held-out people and on true landmarks:

* reconstruction: NME of a face made again from its own codes, and with the identity code of another frame;
* probes: share of frames in which a two-layer network, trained on other clips of 100 held-out people, names the person;
* cross: NME to the true landmarks of the source's person doing what the driving person does, beside three simple ways;
* jitter of clips driven by trembling landmarks, with and without smoothing of the codes.

NME in % of sqrt(w h) of the true landmarks' box. The ablation's rows are ours: the paper names one without its rows.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from ldnet_landmarks import LandmarkWorld, Pairs
from torch import Tensor, nn

from reenact_zoo.datasets.synthetic import SyntheticConfig
from reenact_zoo.evaluation.statistics import difference
from reenact_zoo.faces.landmark_model import personalised_landmarks
from reenact_zoo.methods.ldnet_fdgan.landmark_shape import framing_of, placed, shape_of
from reenact_zoo.methods.ldnet_fdgan.ld_losses import LDLossWeights, sampled
from reenact_zoo.methods.ldnet_fdgan.ld_net import LDNet
from reenact_zoo.methods.ldnet_fdgan.ld_training import LandmarkTable, LDTrainer, LDTraining, seeded
from reenact_zoo.methods.ldnet_fdgan.pca_transformer import PCATransformer
from reenact_zoo.methods.ldnet_fdgan.temporal import CodeSmoother
from reenact_zoo.metrics._landmark_error import normalised_landmark_error
from reenact_zoo.metrics.jitter import jitter
from reenact_zoo.ops.coordinates import normalised_to_pixel

ROWS = {
    "ldnet": LDLossWeights(),
    "no_adversary": LDLossWeights(adversary_space="none", divergence=0.0),
    "code_space": LDLossWeights(adversary_space="code"),
    "kl_only": LDLossWeights(adversary_space="none"),
}
TITLES = {
    "ldnet": "LD-Net",
    "no_adversary": "neither adversary nor KL",
    "code_space": "adversary on the code",
    "kl_only": "KL only",
}
SEEN = {"clips": 8, "frames": 4, "frame_rate": 2}  # of everybody: many short clips, as neighbouring frames look alike
PROBE_CLIPS = (6, 7)  # clips of each held-out person that the probes are tested on
SIDE = 64  # pixels; NME hardly depends on it, as both landmarks are measured in the same ones
TREMBLE = 0.5  # deviation of landmarks in the jitter test, % of the face
SMOOTHING = (0.0, 0.3, 0.6)
JITTER_CLIPS = 20
Way = Callable[[Tensor, Tensor], Tensor]


# --- measures -----------------------------------------------------------------------------------------------------


def nme(made: Tensor, truth: Tensor) -> Tensor:
    """(P,) in %."""
    return normalised_landmark_error(made, truth, SIDE, SIDE)


def procrustes(source: Tensor, driving: Tensor) -> Tensor:
    """The driving landmarks at their own place with the size of the source's, the only identity that a similarity
    transform between two faces of different pose can carry over."""
    framing, size = framing_of(driving), framing_of(source)[:, 2:]
    return placed(shape_of(driving, framing), torch.cat([framing[:, :2], size], dim=1))


def probe_accuracy(codes: Tensor, identity: Tensor, held_out: Tensor, updates: int = 1500) -> float:
    """Share of held-out rows whose person a network with two hidden layers names, after training on the others.

    Args:
        codes: (M, D).
        identity: (M,) labels 0 … N - 1.
        held_out: (M,) bool, rows to test on.
        updates: of 256 rows.
    """
    known = codes[~held_out]
    inputs = (codes - known.mean(0)) / known.std(0).clamp(min=1e-6)
    x, y = inputs[~held_out], identity[~held_out]
    with seeded(0):
        count = int(identity.amax()) + 1
        network = nn.Sequential(
            nn.Linear(codes.shape[1], 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, count)
        )
        optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-2, fused=True)
        for _ in range(updates):
            rows = torch.randint(len(x), (256,))
            optimiser.zero_grad()
            nn.functional.cross_entropy(network(x[rows]), y[rows]).backward()
            optimiser.step()
    with torch.no_grad():
        named = network(inputs[held_out]).argmax(1)
    return float((named == identity[held_out]).float().mean())


@torch.no_grad()
def reconstruction(net: LDNet, table: LandmarkTable) -> dict[str, float]:
    """NME of faces from their own codes, and with the identity code of another frame of the same person."""
    order, first, counts = table.rows_of_persons()
    rows = torch.arange(len(table.identity))
    with seeded(1):
        offset = (torch.rand(len(rows)) * (counts[table.identity] - 1)).long() + 1
    place = torch.empty_like(order).scatter(0, order, rows) - first[table.identity]
    other = order[first[table.identity] + (place + offset) % counts[table.identity]]
    faces = table.landmarks
    return {
        "own_frame": float(nme(net.personalise(faces, faces), faces).mean()),
        "other_frame": float(nme(net.personalise(faces[other], faces), faces).mean()),
    }


@torch.no_grad()
def all_codes(net: LDNet, table: LandmarkTable) -> dict[str, Tensor]:
    """The two codes of every row, that of pose and expression also with its noise as in training, and the shapes."""
    codes = net.codes(table.landmarks)
    raw = shape_of(table.landmarks, codes.framing).flatten(1)
    with seeded(3):
        noisy = sampled(*net.pose_expression_encoder(net.normalised(table.landmarks, codes.framing)))
    return {"pose_expression": codes.pose_expression, "sampled": noisy, "identity": codes.identity, "raw": raw}


@torch.no_grad()
def with_mean_identity(net: LDNet, train: LandmarkTable, driving: Tensor) -> Tensor:
    """The driving face with the average of the training people's identity codes."""
    codes, mean = net.codes(driving), net.codes(train.landmarks[::7]).identity.mean(0)
    return net.generate(codes.pose_expression, mean.expand(len(driving), -1), codes.framing)


@torch.no_grad()
def difference_added(net: LDNet, source: Tensor, driving: Tensor) -> Tensor:
    """The driving landmarks, moved by what the source's identity code changes against the driving person's own.

    Not in the paper; it keeps what the code of pose and expression has no room for, of the driving person's face too.
    """
    return driving + net.personalise(source, driving) - net.personalise(driving, driving)


@torch.no_grad()
def jitter_rows(net: LDNet, head: str) -> dict[str, dict[str, float]]:
    """Jitter and NME of clips whose driving landmarks tremble, for several strengths of smoothing.

    The driving person of clip k is held-out person k, the source the first frame of the next one.
    """
    clips = JITTER_CLIPS
    world = LandmarkWorld(SyntheticConfig(head=head, split="test", test_identities=clips))
    frames = len(world.table.landmarks) // clips
    found: dict[str, list[Tensor]] = {str(strength): [] for strength in SMOOTHING}
    for number in range(clips):
        source = (number + 1) % clips * frames
        rows, truth = world.cross_clip(source, number * frames, frames)
        driving = trembling(world.table.landmarks[rows], number)
        who = net.identity_of(world.table.landmarks[source : source + 1]).expand(frames, -1)
        for strength in SMOOTHING:
            made = net.drive(who, driving, CodeSmoother(strength))
            triples = [torch.stack([x[:-2], x[1:-1], x[2:]]) for x in (in_pixels(made), in_pixels(truth))]
            found[str(strength)].append(torch.stack([jitter(*triples).mean(), nme(made, truth).mean()]))
    means = {strength: torch.stack(values).mean(0).tolist() for strength, values in found.items()}
    return {strength: {"jitter": shaking, "nme": error} for strength, (shaking, error) in means.items()}


def trembling(landmarks: Tensor, seed: int) -> Tensor:
    """Landmarks (T, 68, 2) as a detector might see them: independent noise of ``TREMBLE`` % of the face's box."""
    extent = (landmarks.amax(1) - landmarks.amin(1)).prod(-1).sqrt()
    with seeded(2, seed):
        return landmarks + TREMBLE / 100 * extent[:, None, None] * torch.randn_like(landmarks)


def in_pixels(landmarks: Tensor) -> Tensor:
    """Normalised → pixels of a picture of ``SIDE``."""
    return normalised_to_pixel(landmarks, SIDE, SIDE)


@torch.no_grad()
def milliseconds(net: LDNet, landmarks: Tensor, repeats: int = 200) -> float:
    """Median time of ``personalise`` for one frame on one thread."""
    times = []
    for row in range(repeats):
        face = landmarks[row % len(landmarks)][None]
        begin = time.perf_counter()
        net.personalise(face, face)
        times.append(1000 * (time.perf_counter() - begin))
    return sorted(times)[len(times) // 2]


# --- the study ----------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Study:
    """People to learn from, held-out people, pairs among those."""

    train: LandmarkTable
    world: LandmarkWorld
    pairs: Pairs

    @property
    def test(self) -> LandmarkTable:
        """Landmarks of the held-out people."""
        return self.world.table

    @property
    def faces(self) -> tuple[Tensor, Tensor]:
        """Source and driving landmarks of the pairs."""
        return self.test.landmarks[self.pairs.source], self.test.landmarks[self.pairs.driving]

    def cross(self, way: Way) -> Tensor:
        """(P,) NME to the true targets."""
        with torch.no_grad():
            return nme(way(*self.faces), self.pairs.truth)

    def compared(self, ours: Tensor, theirs: Tensor) -> dict[str, float | None]:
        """Mean of ours - theirs with its 95 % interval over persons."""
        people = [[f"{int(k)}" for k in self.test.identity[rows]] for rows in (self.pairs.source, self.pairs.driving)]
        found = difference(ours.numpy(), theirs.numpy(), *people, higher_is_better=False)
        return {"mean": found.mean, "low": found.low, "high": found.high}


def prepared(head: str, people: int, held_out: int, pairs: int) -> Study:
    """Landmarks of everybody; a minute for 500 people."""
    train = SyntheticConfig(head=head, split="train", train_identities=people, **SEEN)
    world = LandmarkWorld(SyntheticConfig(head=head, split="test", test_identities=held_out, **SEEN))
    return Study(LandmarkWorld(train).table, world, world.cross_pairs(pairs))


def baselines(study: Study) -> dict[str, Tensor]:
    """(P,) NME of ways without a network."""
    pca = PCATransformer.fit(study.train.landmarks, study.train.identity)
    ways: dict[str, Way] = {
        "driving landmarks as they are": lambda source, driving: driving,
        "driving landmarks at the source's size": procrustes,
        "PCA transformer": pca.personalise,
        "3-D landmark model (knows the head's modes)": lambda s, d: personalised_landmarks(s, d, (SIDE, SIDE)),
    }
    return {name: study.cross(way) for name, way in ways.items()}


def framing_bound(study: Study) -> float:
    """NME of the true shape put where the driving face lies: what no guess of shape can go below."""
    truth = study.pairs.truth
    return float(study.cross(lambda _, driving: placed(shape_of(truth, framing_of(truth)), framing_of(driving))).mean())


def measure(net: LDNet, study: Study, others: dict[str, Tensor]) -> dict[str, Any]:
    """Everything about one network."""
    codes = all_codes(net, study.test)
    held_out = torch.isin(study.world.clip, torch.tensor(PROBE_CLIPS))
    cross = study.cross(net.personalise)
    mean_identity = study.cross(lambda _, driving: with_mean_identity(net, study.train, driving))
    return {
        "reconstruction_nme": reconstruction(net, study.test),
        "probe": {name: probe_accuracy(code, study.test.identity, held_out) for name, code in codes.items()},
        "cross_nme": float(cross.mean()),
        "cross_nme_difference_added": float(study.cross(lambda s, d: difference_added(net, s, d)).mean()),
        "cross_nme_mean_identity": float(mean_identity.mean()),
        "cross_nme_by_shape_distance": by_distance(study, cross),
        "minus_baseline": {name: study.compared(cross, values) for name, values in others.items()},
        "milliseconds_per_frame": milliseconds(net, study.test.landmarks),
    }


def by_distance(study: Study, values: Tensor) -> list[float]:
    """Means over the thirds of pairs with the most similar, middling, and most different persons."""
    distance = study.world.shape_distance(study.pairs)
    return [float(part.mean()) for part in values[distance.argsort()].chunk(3)]


def trained(row: str, study: Study, given: argparse.Namespace) -> LDNet:
    """The network of a row; taken up where an earlier run of the same settings stopped."""
    config = LDTraining(stage1_updates=given.stage1, stage2_updates=given.stage2, seed=given.seed, weights=ROWS[row])
    return LDTrainer(study.train, config, given.folder / row, _progress(row)).run()


def _progress(row: str) -> Callable[[int, int, Any], None]:
    def report(stage: int, update: int, losses: Any) -> None:
        if update % 1000 == 0:
            print(row, f"stage {stage}, update {update}", {k: round(v, 4) for k, v in losses.items()}, flush=True)

    return report


# --- what is written ----------------------------------------------------------------------------------------------


def as_markdown(result: dict[str, Any]) -> str:
    """The tables of the JSON record."""
    about, others = result["about"], result["baselines"]
    lines = [
        f"LD-Net on {about['held_out']} held-out people ({about['pairs']} cross pairs, true landmarks), trained on "
        f"{about['people']} people of head `{about['head']}`. NME in % of the face's box, lower is better; probes: "
        "share of frames whose person a two-layer network names.",
        "",
        "| | cross NME | similar / middling / different persons | minus this, LD-Net [95 %] |",
        "| --- | --- | --- | --- |",
    ]
    full = result["rows"].get("ldnet", {}).get("minus_baseline", {})
    for name, entry in others.items():
        lines.append(f"| {name} | {entry['cross_nme']:.2f} | {_thirds(entry)} | {_interval(full.get(name))} |")
    for name, entry in result["rows"].items():
        lines.append(f"| {TITLES[name]} | {entry['cross_nme']:.2f} | {_thirds(entry)} | |")
        lines.append(f"| {TITLES[name]}, added as a difference | {entry['cross_nme_difference_added']:.2f} | | |")
    lines += [f"| true shape at the driving face's place (bound) | {result['framing_bound_nme']:.2f} | | |", ""]
    lines += [
        "| | reconstruction, own / other frame | with the mean identity | probe of z_pe, mean / sampled | of z_id "
        "| of landmarks |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, entry in result["rows"].items():
        again, probe = entry["reconstruction_nme"], entry["probe"]
        lines.append(
            f"| {TITLES[name]} | {again['own_frame']:.2f} / {again['other_frame']:.2f} "
            f"| {entry['cross_nme_mean_identity']:.2f} | {probe['pose_expression']:.3f} / {probe['sampled']:.3f} "
            f"| {probe['identity']:.3f} "
            f"| {probe['raw']:.3f} |"
        )
    lines += ["", "| smoothing of the codes | jitter, % | cross NME |", "| --- | --- | --- |"]
    lines += [f"| {a} | {e['jitter']:.2f} | {e['nme']:.2f} |" for a, e in result.get("jitter", {}).items()]
    return "\n".join(lines) + "\n"


def _thirds(entry: dict[str, Any]) -> str:
    return " / ".join(f"{value:.2f}" for value in entry["cross_nme_by_shape_distance"])


def _interval(entry: dict[str, float] | None) -> str:
    return "" if entry is None else f"{entry['mean']:+.2f} [{entry['low']:+.2f}, {entry['high']:+.2f}]"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder that gets ldnet_proof.json and .md")
    parser.add_argument("--folder", type=Path, default=Path("runs/ldnet"), help="where trained networks lie")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--head", default="ict", help="'procedural' needs no file")
    parser.add_argument("--people", type=int, default=500, help="to learn from")
    parser.add_argument("--held-out", type=int, default=100)
    parser.add_argument("--pairs", type=int, default=4000)
    parser.add_argument("--stage1", type=int, default=LDTraining.stage1_updates, help="updates")
    parser.add_argument("--stage2", type=int, default=LDTraining.stage2_updates, help="updates")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    study = prepared(given.head, given.people, given.held_out, given.pairs)
    others = baselines(study)
    about = {key: getattr(given, key) for key in ("head", "people", "held_out", "pairs", "stage1", "stage2", "seed")}
    result: dict[str, Any] = {"about": about, "framing_bound_nme": framing_bound(study), "rows": {}}
    result["baselines"] = {
        name: {"cross_nme": float(values.mean()), "cross_nme_by_shape_distance": by_distance(study, values)}
        for name, values in others.items()
    }
    for row in given.rows:
        net = trained(row, study, given)
        result["rows"][row] = measure(net, study, others)
        if row == "ldnet":
            result["jitter"] = jitter_rows(net, given.head)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "ldnet_proof.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    (given.out / "ldnet_proof.md").write_text(as_markdown(result), encoding="utf-8")
    print(as_markdown(result))


if __name__ == "__main__":
    main()

"""Identity leak beyond that of the true target, by the judge trained on synthetic people."""

from reenact_zoo.metrics._embedding import _LeakExcess
from reenact_zoo.metrics._faces import left_out
from reenact_zoo.metrics._synthetic import IDENTITY, JUDGE
from reenact_zoo.metrics.base import MetricCard


class IdentityLeakExcessSynthetic(_LeakExcess):
    """Leak of reenacted minus leak of the true target; 0 for the true target itself."""

    card = MetricCard(
        name="identity_leak_excess_synthetic",
        version=1,
        title="identity leak beyond the target's (synthetic judge)",
        unit="",
        higher_is_better=False,
        compares="cosine with driving minus cosine with source, of reenacted minus of the true target",
        settings=frozenset({"cross"}),
        reads_target=True,
        quantities=(IDENTITY,),
        face_missing=left_out("source, driving or the true target"),
        reference=f"embedding by a {JUDGE}; not comparable with CosFace or ArcFace",
        alignment="each face by five of its own 68 landmarks, 64x64 px",
    )

"""Trains the instruments that ship inside the package; each leaves a card with its command and its held-out figures.

    python -m reenact_zoo.train.instruments

renders two worlds of synthetic people, trains eight networks and dlib's 68-landmark predictor on them, and writes files
and cards into ``reenact_zoo/bundled/weights``.
"""

from reenact_zoo.train.instruments.trees import Example, TreeSettings, examples, train_landmarks

__all__ = ["Example", "TreeSettings", "examples", "train_landmarks"]

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from reenact_zoo.config import TrainConfig, train_config


@pytest.fixture
def configured() -> Callable[..., TrainConfig]:
    """Quick trainings of a toy on painted faces; keyword arguments change the settings."""

    def _configured(method: str = "OnePhaseToy", **settings: Any) -> TrainConfig:
        fields = {"width": 8} | settings.pop("method_fields", {})
        content = {
            "method": {"name": f"reenact_zoo.testing:{method}", **fields},
            "dataset": {"name": "reenact_zoo.testing:PaintedClips", **settings.pop("dataset_fields", {})},
            "image_size": 32,
            "batch_size": 4,
            "max_updates": 4,
            "workers": 0,
            "precision": "32-true",
            "validate_every": 2,
            "validation_pairs": 3,
            "log_every": 1,
        }
        return train_config({**content, **settings}, "test", "test")

    return _configured

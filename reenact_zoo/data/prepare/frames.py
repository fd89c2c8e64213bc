"""The frames of a clip at the rate that is wanted, one at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from reenact_zoo.datasets.base import Clip, ClipDataset, FrameRef
from reenact_zoo.video.read import FOLDER_RATE, Frame, open_frames


def chosen_frames(
    dataset: ClipDataset, clip: Clip, rate: Fraction | None, at_most: int | None = None
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """(number in the clip, (H, W, 3) RGB) of the frames to keep; the same whenever it is asked.

    Args:
        dataset: where the clip is from; readers of files are streamed, others asked frame by frame.
        clip: what to read.
        rate: frames per second; None, or a clip without a rate, keeps all.
        at_most: bound of their number.

    Raises:
        InputError: the clip is damaged.
    """
    frames = _frames(dataset, clip)
    if rate is not None and clip.frame_rate is not None:
        frames = nearest_in_time(frames, rate, 1 / clip.frame_rate)
    return ((frame.index, frame.image) for frame in islice(frames, at_most))


def _frames(dataset: ClipDataset, clip: Clip) -> Iterator[Frame]:
    path = getattr(dataset, "path", None)
    rate = clip.frame_rate or FOLDER_RATE
    if path is not None:
        return iter(open_frames(path(clip.name), rate))
    refs = (FrameRef(clip.name, index) for index in range(clip.num_frames))
    return (Frame(ref.index, ref.index / rate, dataset.frame(ref)) for ref in refs)


def nearest_in_time(frames: Iterable[Frame], rate: Fraction, duration: Fraction) -> Iterator[Frame]:
    """For every k the frame nearest to k / rate seconds, the earlier of two; the last frame shows for ``duration``."""
    count, before = 0, None
    for frame in frames:
        while before is not None and count / rate - before.time <= frame.time - count / rate:
            yield before
            count += 1
        before = frame
    while before is not None and count / rate < before.time + duration:
        yield before
        count += 1

"""Multi-scale SSIM of 64 x 64 images."""

from reenact_zoo.metrics._ms_ssim import _MSSSIM, ms_ssim_card


class MSSSIM64(_MSSSIM):
    """Multi-scale SSIM, full frame."""

    size = 64
    card = ms_ssim_card(64, head=False)

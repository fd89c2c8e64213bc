"""Multi-scale SSIM of 256 x 256 images."""

from reenact_zoo.metrics._ms_ssim import _MSSSIM, ms_ssim_card


class MSSSIM256(_MSSSIM):
    """Multi-scale SSIM, full frame."""

    size = 256
    card = ms_ssim_card(256, head=False)

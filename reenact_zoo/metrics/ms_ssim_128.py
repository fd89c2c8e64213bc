"""Multi-scale SSIM of 128 x 128 images."""

from reenact_zoo.metrics._ms_ssim import _MSSSIM, ms_ssim_card


class MSSSIM128(_MSSSIM):
    """Multi-scale SSIM, full frame."""

    size = 128
    card = ms_ssim_card(128, head=False)

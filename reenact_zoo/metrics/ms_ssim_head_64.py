"""Multi-scale SSIM of 64 x 64 images in the head region."""

from reenact_zoo.metrics._ms_ssim import _MSSSIMHead, ms_ssim_card


class MSSSIMHead64(_MSSSIMHead):
    """Multi-scale SSIM in the head region: outside it both images are set equal."""

    size = 64
    card = ms_ssim_card(64, head=True)

"""Multi-scale SSIM of 256 x 256 images in the head region."""

from reenact_zoo.metrics._ms_ssim import _MSSSIMHead, ms_ssim_card


class MSSSIMHead256(_MSSSIMHead):
    """Multi-scale SSIM in the head region: outside it both images are set equal."""

    size = 256
    card = ms_ssim_card(256, head=True)

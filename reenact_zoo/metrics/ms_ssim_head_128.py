"""Multi-scale SSIM of 128 x 128 images in the head region."""

from reenact_zoo.metrics._ms_ssim import _MSSSIMHead, ms_ssim_card


class MSSSIMHead128(_MSSSIMHead):
    """Multi-scale SSIM in the head region: outside it both images are set equal."""

    size = 128
    card = ms_ssim_card(128, head=True)

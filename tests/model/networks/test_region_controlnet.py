from __future__ import annotations

import torch
from diffusers import UNet2DConditionModel

from instructrestore.model.networks.region_controlnet import RegionControlNet


def test_a_controlnet_whose_first_blocks_do_not_attend_is_the_same_for_shared_latents_and_one_by_one() -> None:
    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=12,
        out_channels=12,
        down_block_types=("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        block_out_channels=(8, 16, 32),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=16,
        attention_head_dim=(1, 2, 4),
    )
    torch.manual_seed(0)
    control = RegionControlNet.from_unet(unet, mask_channels=32, pixels_a_cell=4).eval()
    for zero in (*control.controlnet_down_blocks, control.controlnet_mid_block):
        torch.nn.init.normal_(zero.weight)
    assert control.size_multiple == 4
    latents, photos, texts = torch.randn(2, 12, 8, 12), torch.rand(2, 3, 32, 48), torch.randn(5, 6, 16)
    views, timestep = torch.tensor([0, 0, 1, 1, 0]), torch.tensor(500)
    with torch.no_grad():
        condition = control.embed_condition(photos)  # a cell is 4 pixels wide
        assert condition.shape == (2, 8, 8, 12)
        shared = control(latents, timestep, texts, condition, mask_rows=3, views=views)
        assert shared.mask_logits.shape == (3, 1, 8, 12)  # decoded at a quarter of the size
        for row, view in enumerate(views.tolist()):
            own = slice(view, view + 1)
            alone = control(latents[own], timestep, texts[row : row + 1], condition[own], mask_rows=1)
            for one, other in zip(shared.residuals, alone.residuals, strict=True):
                torch.testing.assert_close(one[row : row + 1], other, atol=1e-4, rtol=1e-4)
            if row >= 2:
                torch.testing.assert_close(
                    shared.mask_logits[row - 2 : row - 1], alone.mask_logits, atol=1e-4, rtol=1e-4
                )

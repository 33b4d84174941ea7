from collections.abc import Sequence

from mmengine.runner import Runner

from egmim_mm.models import EGMIM
from egmim_mm.pictures.pretraining import as_rows, picture_size, reconstruction_panels
from egmim_mm.pictures.sheets import draw_sheet
from egmim_mm.registry import HOOKS

from .fixed_tiles import FixedTilesHook


@HOOKS.register_module()
class ReconstructionHook(FixedTilesHook):
    """Pictures of what the model makes of the same tiles under the same masks, as training goes on.

    One sheet each time, a row per tile: image, edge prior, masked image, reconstruction and, with a structure head,
    the edges it predicts. It goes to the run's visualizer under the name ``reconstruction``: files
    ``<work dir>/<date>_<time>/vis_data/vis_image/reconstruction_<iteration>.png``, and whatever other backends there
    are. See :class:`FixedTilesHook` for when, for the data and for what is raised.

    Args:
        interval: Iterations; 0 turns the hook off.
        num_tiles: Tiles, spread over the training data set.
        images: Image files or folders to take instead.
        size: Side of the tiles, px, a multiple of 32; by default the smallest multiple of the
            backbone's ``img_size`` that is at least 224.
    """

    def __init__(self,
                 interval: int = 1000,
                 num_tiles: int = 4,
                 images: Sequence[str] | str | None = None,
                 size: int | None = None) -> None:
        super().__init__(interval, num_tiles, images, size)

    def default_size(self, model: EGMIM) -> int:
        return picture_size(model)

    def look(self, runner: Runner, model: EGMIM, step: int) -> None:
        titles, rows = as_rows(reconstruction_panels(model, tile, seed) for seed, tile in enumerate(self.tiles))
        titles[titles.index('reconstruction')] += f'\nafter {step} iterations'
        width = min(max(self.tiles[0].image.shape[1], 192), 256)
        sheet = draw_sheet(rows, titles, row_titles=[tile.name for tile in self.tiles], width=width)
        runner.visualizer.add_image('reconstruction', sheet, step)

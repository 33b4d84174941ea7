import torch
from mmengine import dist
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor

from egmim_mm.datasets.plain_tiles import dataset_tiles, spread
from egmim_mm.edges import floor_of
from egmim_mm.models import EGMIM
from egmim_mm.pictures.pretraining import model_inputs
from egmim_mm.readout.cells import window_batches
from egmim_mm.registry import HOOKS

WINDOWS = 16  # most windows of one tile: large tiles would take minutes


@HOOKS.register_module()
class EdgeFloorHook(Hook):
    """Measures the floor of the edge prior on the training tiles, where ``model.edge_prior.floor='auto'``.

    Before the first step the main process reads some tiles as the data set loads them and takes the q99 of the edge
    response of up to 16 windows of the size of a crop, at native scale; the floor is a percentile of these (see
    :func:`egmim_mm.edges.floor_of`), at least half an 8-bit step (0.02 of features, which are those of the weights
    that the run starts from), and the same in all processes. It goes to the log, to the checkpoints (buffer
    ``edge_prior.measured_floor``, lineage) and to ``results.json``. A resumed run keeps its floor. Models
    with a floor of their own, or that read no edges, are left alone.

    Args:
        num_tiles: Tiles, spread over the training data set.
        percentile: Windows flatter than all but so many percent are not amplified to full strength.

    Raises:
        ValueError: No tiles, or a percentile out of range.
        TileReadError: Before training: a tile cannot be read.
    """

    priority = 'HIGH'  # before the hooks that look at the model before training

    def __init__(self, num_tiles: int = 128, percentile: float = 5.0) -> None:
        if num_tiles < 1 or not 0 <= percentile <= 100:
            raise ValueError('EdgeFloorHook: num_tiles must be at least 1 and percentile in 0..100, got '
                             f'{num_tiles} and {percentile}')
        self.num_tiles, self.percentile = num_tiles, percentile

    def before_train(self, runner: Runner) -> None:
        """Measure, unless the checkpoint of a resumed run has brought the floor."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        if not isinstance(model, EGMIM) or not model.edge_prior.is_measured or not model.reads_edges:
            return
        if not (runner._resume and model.edge_prior.measured_floor > 0):
            floor = torch.zeros(1, dtype=torch.float64, device=model.edge_prior.measured_floor.device)
            if dist.is_main_process():
                floor += self._measure(runner, model)
            dist.broadcast(floor)
            model.edge_prior.set_floor(floor.item())
        unit = 'luminance per px' if model.edge_prior.stage is None else 'distance of features'
        runner.logger.info(f'Edge floor: {model.edge_prior.floor:.4g} {unit}')
        runner.message_hub.update_info('edge_floor', model.edge_prior.floor)

    def _measure(self, runner: Runner, model: EGMIM) -> float:
        crop, values, tiles = max(model.backbone.patch_embed.init_input_size), [], 0
        for tile in dataset_tiles(runner.train_dataloader.dataset, self.num_tiles):
            inputs, tiles = model_inputs(model, tile), tiles + 1
            windows = torch.cat(list(window_batches(inputs, crop)))
            values.append(self._responses(model, windows[spread(len(windows), WINDOWS)]))
        values = torch.cat(values)
        try:
            floor = floor_of(values, self.percentile)
        except ValueError as error:
            runner.logger.warning(f'Edge floor: {error} The least floor is taken.')
            return 0.0
        low, middle, high = torch.quantile(values.double(), values.new_tensor([0.05, 0.5, 0.95]).double()).tolist()
        runner.logger.info(f'Edge floor: measured on {len(values)} windows of {crop} px of {tiles} tiles, whose '
                           f'strongest edges (q99) are {low:.4f} / {middle:.4f} / {high:.4f} (5 / 50 / 95 %): '
                           f'{self.percentile:g} % of those with any structure lie below {floor:.4f}')
        return floor

    @staticmethod
    def _responses(model: EGMIM, windows: Tensor) -> Tensor:
        images = model.images(windows)
        looked = model.look(windows, images) if model.edge_prior.stage is not None else None
        return model.edge_prior.tops(images, model.valid(windows), looked).cpu()

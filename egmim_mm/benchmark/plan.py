"""What ``tools/benchmark.py all`` measures, as data: to add a way to train is a line here."""
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .training_configs import TOY_ARCH

__all__ = ['FUNCTIONS', 'Comparison', 'Way', 'comparisons']


@dataclass(frozen=True)
class Way:
    """One way to train.

    Attributes:
        name: In the table.
        stock: The stock toolchain, a baseline.
        options: Settings of the config, as in ``--cfg-options``.
    """

    name: str
    stock: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


SAME = {'optim_wrapper.type': 'egmim_mm.AutocastOptimWrapper'}
PRETRAIN = (
    Way('EGMIM, all tokens'),
    Way('EGMIM, visible tokens', options={'model.backbone.encode': 'visible',
                                          'model.mask_generator.policy': 'edge_uniform',
                                          'model.mask_generator.ratio': 0.75}),
    Way('stock SimMIM, float32', stock=True),
    Way('stock SimMIM, our precision', stock=True, options=SAME),
)
FINETUNE = (
    Way('UperNet'),
    Way('stock UperNet, float32', stock=True),
    Way('stock UperNet, our precision', stock=True, options=SAME),
)
PRETRAIN_NOTE = ('whole training runs with their data: EGMIM as its configs are (tiles in a decoded cache that is '
                 "filled, edges, two more losses than SimMIM) against MMPretrain's SimMIM with its "
                 'SimMIMSwinTransformer, pipeline, loader and OptimWrapper. The same Swin, image size, batch, AdamW, '
                 'tiles of 512 px and number of loader processes')
FINETUNE_NOTE = ("whole training runs with their data: our UperNet as its configs are against MMSegmentation's "
                 'EncoderDecoder with its SwinTransformer, pipeline, loader and OptimWrapper. The same Swin, heads, '
                 'crop, batch, AdamW, tiles of 512 px and number of loader processes')


@dataclass(frozen=True)
class Comparison:
    """Ways to train that are measured in turn.

    Attributes:
        name: In the table and for ``--only``.
        title: In the table: model, size, batch.
        ways: Those of ours and the baselines.
        job: For :func:`egmim_mm.benchmark.training.measure`.
        rounds: Measurements of each way.
        seconds: About how long one takes on two cores; for the announcement alone.
        note: What is compared.
    """

    name: str
    title: str
    ways: tuple[Way, ...]
    job: Mapping[str, Any]
    rounds: int
    seconds: float
    note: str

    @property
    def minutes(self) -> float:
        return self.rounds * len(self.ways) * self.seconds / 60


def comparisons(toy: bool = False) -> list[Comparison]:
    """The trainings that are compared; ``toy``: tiny ones that show in seconds whether everything runs."""
    if toy:
        small = dict(size=64, batch=2, warmup=1, timed=2, alone=2,
                     backbone=dict(arch=TOY_ARCH, window_size=2))
        return [
            Comparison('pretrain-toy', 'pretraining, toy, 2 x 64 px', _first_of_both(PRETRAIN),
                       dict(small, phase='pretrain', model='egmim_swin-pico.py'), 2, 10, PRETRAIN_NOTE),
            Comparison('finetune-toy', 'fine-tuning, toy, 2 x 64 px', _first_of_both(FINETUNE),
                       dict(small, phase='finetune', model='upernet_swin-pico.py'), 1, 10, FINETUNE_NOTE),
        ]
    return [
        Comparison('pretrain-nano', 'pretraining, nano, 8 x 128 px', PRETRAIN,
                   dict(phase='pretrain', model='egmim_swin-nano.py', size=128, batch=8, warmup=5, timed=25, alone=10),
                   5, 22, PRETRAIN_NOTE),
        Comparison('pretrain-tiny', 'pretraining, Swin-T, 4 x 192 px', PRETRAIN,
                   dict(phase='pretrain', model='egmim_swin-tiny.py', size=192, batch=4, warmup=2, timed=8, alone=4,
                        backbone=dict(window_size=6)), 3, 27, PRETRAIN_NOTE),
        Comparison('finetune-nano', 'fine-tuning, nano, 8 x 128 px', FINETUNE,
                   dict(phase='finetune', model='upernet_swin-nano.py', size=128, batch=8, warmup=4, timed=15,
                        alone=8), 4, 22, FINETUNE_NOTE),
        Comparison('finetune-tiny', 'fine-tuning, Swin-T, 2 x 512 px', FINETUNE,
                   dict(phase='finetune', model='upernet_swin-tiny.py', size=512, batch=2, warmup=1, timed=2,
                        alone=1), 2, 60, FINETUNE_NOTE),
    ]


def _first_of_both(ways: tuple[Way, ...]) -> tuple[Way, Way]:
    return ways[0], next(way for way in ways if way.stock)


# Timings with rows of their own: name -> function in a child process, and minutes on two cores. It takes a dict of
# `threads` and `workers` and returns a list of what dataclasses.asdict makes of a Row.
FUNCTIONS: dict[str, tuple[str, float]] = {
    'boundaries': ('egmim_mm.benchmark.boundary:measure', 1),
    'data-wait': ('egmim_mm.benchmark.data_wait:measure', 8),
}

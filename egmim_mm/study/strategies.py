"""The strategies that are compared: which weights fine-tuning starts from; the docs print these tables."""
from typing import NamedTuple

__all__ = ['STRATEGIES', 'Strategy', 'comparison_table', 'recipe_table']


class Strategy(NamedTuple):
    """How the backbone of fine-tuning comes about.

    ``weights``: of the general-purpose phase, empty for random ones; ``dapt``: method of the domain-adaptive phase,
    empty without one; ``backbone``: what fine-tuning gets as ``--backbone``, as Markdown.
    """

    name: str
    weights: str
    dapt: str
    backbone: str


STRATEGIES = (
    Strategy('from scratch', '', '', 'none'),
    Strategy('ImageNet supervised', 'ImageNet', '', '`swin_t-704ceda3.pth`'),
    Strategy('ImageNet self-supervised', 'ImageNet', '', 'SimMIM (Swin-B; the others with `arch=base` too)'),
    Strategy('GPPT', 'GPPT', '', 'GFM, CMID, RSP, SatlasPretrain, or `work_dirs/simmim_gppt_swin-tiny`'),
    Strategy('DAPT only', '', 'EGMIM', '`work_dirs/egmim_dapt_vaihingen`, trained without `--backbone`'),
    Strategy('ImageNet, then DAPT', 'ImageNet', 'EGMIM', 'the same, trained with `--backbone swin_t-704ceda3.pth`'),
    Strategy('GPPT, then DAPT with SimMIM', 'GPPT', 'SimMIM',
             '`configs/simmim_dapt_vaihingen.py --backbone GPPT`, then its work dir'),
    Strategy('GPPT, then DAPT with EGMIM', 'GPPT', 'EGMIM',
             '`configs/egmim_dapt_vaihingen.py --backbone GPPT`, then its work dir'),
)


def comparison_table() -> str:
    """Which phases each strategy has: the table of ``docs/protocol.md``."""
    rows = ['| strategy | first weights | DAPT |', '|---|---|---|']
    return '\n'.join(rows + [f'| {s.name} | {s.weights or "random"} | {s.dapt or "none"} |' for s in STRATEGIES])


def recipe_table() -> str:
    """What fine-tuning starts from: the table of ``docs/gppt.md``."""
    rows = ['| strategy | backbone of fine-tuning |', '|---|---|']
    return '\n'.join(rows + [f'| {s.name} | {s.backbone} |' for s in STRATEGIES])

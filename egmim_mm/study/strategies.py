"""The strategies that are compared: which weights fine-tuning starts from. The table of the docs is made here."""
from typing import NamedTuple

__all__ = ['STRATEGIES', 'Strategy', 'comparison_table']


class Strategy(NamedTuple):
    """How the backbone of fine-tuning comes about; an empty text means that the phase is left out.

    ``imagenet``: how the first weights were learned there; ``gppt``: whether general-purpose pretraining on aerial
    images comes first; ``dapt``: method of the domain-adaptive phase; ``backbone``: of fine-tuning, as Markdown.
    """

    name: str
    imagenet: str
    gppt: bool
    dapt: str
    backbone: str


STRATEGIES = (
    Strategy('from scratch', '', False, '', 'none'),
    Strategy('ImageNet supervised', 'supervised', False, '', 'a supervised Swin'),
    Strategy('ImageNet self-supervised', 'SimMIM', False, '', "SimMIM's Swin-B (the others with `arch='base'` too)"),
    Strategy('GPPT', '', True, '', 'the GPPT weights'),
    Strategy('DAPT only', '', False, 'EGMIM', 'work dir of `configs/egmim_dapt_*.py` without `--backbone`'),
    Strategy('ImageNet, then DAPT', 'supervised', False, 'EGMIM',
             'work dir of `configs/egmim_dapt_*.py --backbone` a supervised Swin'),
    Strategy('GPPT, then DAPT with SimMIM', '', True, 'SimMIM',
             'work dir of `configs/simmim_dapt_*.py --backbone` GPPT'),
    Strategy('GPPT, then DAPT with EGMIM', '', True, 'EGMIM', 'work dir of `configs/egmim_dapt_*.py --backbone` GPPT'),
)


def comparison_table() -> str:
    """Which phases each strategy has, as the Markdown table of ``docs/protocol.md``."""
    lines = ['| start | ImageNet | GPPT | DAPT | backbone of fine-tuning |', '|---|---|---|---|---|']
    for name, *phases, backbone in STRATEGIES:
        cells = ('yes' if phase is True else phase or '' for phase in phases)
        lines.append(f'| {name} |' + ''.join(f' {cell} |' if cell else ' |' for cell in cells) + f' {backbone} |')
    return '\n'.join(lines)

"""Contradictions inside a config, found before anything is built."""

from mmengine.config import Config

from egmim_mm.datasets.public import declared_metainfo

from .errors import LaunchError


def check_classes(cfg: Config) -> None:
    """Compare the number of classes of the heads with that of the data.

    Raises:
        LaunchError: They differ.
    """
    for loader in ('train_dataloader', 'test_dataloader'):
        dataset = (cfg.get(loader) or {}).get('dataset') or {}
        classes = declared_metainfo(dataset).get('classes')
        for head in ('decode_head', 'auxiliary_head'):
            number = (cfg.model.get(head) or {}).get('num_classes')
            if classes and number and number != len(classes):
                raise LaunchError(f'model.{head}.num_classes is {number}, but the data has {len(classes)} classes '
                                  f'({", ".join(classes)}): set num_classes to {len(classes)}')

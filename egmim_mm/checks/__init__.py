"""What is wrong with a config, its options or its labels, found before anything is built."""
from .batch_checks import BatchShares, share_out, shares_of
from .config_checks import check_classes, check_testing, check_training
from .head_checks import check_batch
from .label_checks import check_labels
from .launch_error import LaunchError
from .option_checks import check_option_names

__all__ = ['BatchShares', 'LaunchError', 'check_batch', 'check_classes', 'check_labels', 'check_option_names',
           'check_testing', 'check_training', 'share_out', 'shares_of']

from .initializer import BridgedCheckpoint
from .loading import convert_state_dict, load_backbone
from .reading import describe_source, read_checkpoint
from .report import LoadReport
from .sources import CheckpointError, resolve_source

__all__ = [
    'BridgedCheckpoint', 'CheckpointError', 'LoadReport', 'convert_state_dict', 'describe_source', 'load_backbone',
    'read_checkpoint', 'resolve_source'
]

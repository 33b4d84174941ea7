from .heads import CarriedHeads
from .initializer import BridgedCheckpoint
from .lineage import declared_source, describe_source, run_source
from .loading import convert_state_dict, load_backbone
from .reading import read_checkpoint
from .report import LoadReport
from .sources import CheckpointError, newest_checkpoint, resolve_source

__all__ = [
    'BridgedCheckpoint', 'CarriedHeads', 'CheckpointError', 'LoadReport', 'convert_state_dict', 'declared_source',
    'describe_source', 'load_backbone', 'newest_checkpoint', 'read_checkpoint', 'resolve_source', 'run_source'
]

"""Which weights a run starts from, and which runs these went through."""
from collections.abc import Iterator
from typing import Any

from mmengine.config import Config

from egmim_mm.records.provenance import file_sha256

from .reading import read_checkpoint
from .sources import is_url, resolve_source


def describe_source(source: str, trust: bool = False) -> dict[str, Any]:
    """Identity of a checkpoint for ``results.json`` and for the lineage of runs that start from it.

    Args:
        source: Checkpoint file, work dir or URL.
        trust: See :func:`read_checkpoint`.

    Returns:
        ``path`` (of the file that was taken), ``sha256`` and ``lineage`` (one entry per run its weights went through;
        empty for foreign weights); ``url`` if it was one.

    Raises:
        CheckpointError: Not there, or unreadable.
    """
    path = resolve_source(source)
    lineage = lineage_of(read_checkpoint(path, trust))
    url = dict(url=str(source)) if is_url(source) else {}
    return dict(path=str(path), sha256=file_sha256(path), lineage=lineage, **url)


def lineage_of(checkpoint: dict[str, Any]) -> list[dict]:
    """One entry per run that the weights of a checkpoint went through; empty for foreign ones."""
    # bare weights for other libraries carry it where torch keeps what belongs to a state dict
    meta = checkpoint.get('meta') or getattr(checkpoint, '_metadata', {}).get('egmim_mm')
    lineage = meta.get('lineage') if isinstance(meta, dict) else None
    return [step for step in lineage if isinstance(step, dict)] if isinstance(lineage, list) else []


def declared_source(cfg: Config) -> str | None:
    """Checkpoint that a new run of this config starts from by its own settings; None = random weights.

    The first of what MMEngine lets prevail: ``load_from``, ``init_cfg`` of the model, ``init_cfg`` of its backbone.
    """
    model = cfg.get('model') or {}
    starts = (cfg.get('load_from'), *_checkpoints(model), *_checkpoints(model.get('backbone') or {}))
    return next((str(source) for source in starts if source), None)


def run_source(cfg: Config, load_from: str | None = None) -> dict[str, Any] | None:
    """Identity of the weights that a new run starts from, see :func:`describe_source`; None = random weights.

    Args:
        cfg: Of the run; a ``backbone_source`` in it counts first.
        load_from: What its Runner loads, if that is not in the config.
    """
    if cfg.get('backbone_source'):
        return cfg.backbone_source
    source = load_from or declared_source(cfg)
    return describe_source(source, cfg.get('trust_checkpoint', False)) if source else None


def _checkpoints(part: dict) -> Iterator[str | None]:
    init_cfg = part.get('init_cfg') or []
    for start in [init_cfg] if isinstance(init_cfg, dict) else init_cfg:
        yield start.get('source') or start.get('checkpoint')

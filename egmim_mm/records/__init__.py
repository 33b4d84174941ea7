"""What every room writes with: provenance, whole files, tables."""

__all__: list[str] = []  # modules are imported by name

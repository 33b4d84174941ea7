"""What every room writes with: provenance, whole files, tables."""

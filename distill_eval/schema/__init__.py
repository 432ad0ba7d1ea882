"""What crosses the border of a stage: frozen records, their derived properties, no I/O and no heavy imports."""

"""Writes a snapshot as files: `curate export`, the formats, and the card.

Imports `cards`, `hub`, `manifest` and `report`; never balance, generation, audit or selection. An exporter registers with
`base.exporters`.
"""

"""A snapshot leaves the house as files: `curate export`, and the card.

Imports `manifest` and `report`; never balance, generation, audit or selection. An exporter registers with `base.exporters`.
"""

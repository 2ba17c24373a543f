"""Texts become vectors, neighbours and clusters: `curate embed`, `curate cluster`.

Imports `manifest`; never selection, teachers or anything that comes after them. A new runtime for encoders goes into `backends`.
"""

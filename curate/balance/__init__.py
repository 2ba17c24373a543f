"""Stages: slots per domain, rounds, decisions, one commit: `curate balance`, `annotate`, `synthesize`.

Imports every folder before it; never report, export or terminal. What a stage decides about rows is in `decisions`.
"""

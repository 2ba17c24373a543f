"""Who can answer a request, and what its tokens cost.

Imports `manifest`; never ledger, calls, generation or audit. A teacher implements `base.Teacher` and registers
with `registry.teachers`, where it stands.
"""

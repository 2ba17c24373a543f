"""Final answers, and whether a row passes: `curate audit`.

Imports `manifest` and `vectors`; never teachers, ledger, calls, generation or balance. An auditor registers in `auditors`.
"""

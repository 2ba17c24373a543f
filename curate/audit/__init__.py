"""Whether a row passes: auditors, thresholds and the verdict of `curate audit`.

Imports `answers`, `manifest` and `vectors`; never teachers, ledger, calls, generation or balance. An auditor registers in
`auditors`.
"""

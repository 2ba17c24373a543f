"""How many rows each domain gets (policies) and which rows these are (selectors): `curate select`, `curate sample`.

Imports `manifest` and `vectors`; never teachers, ledger, calls or audit. A selector registers in `selectors`, a policy in
`policies`.
"""

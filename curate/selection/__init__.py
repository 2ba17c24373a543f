"""How many rows each domain gets (policies) and which rows these are (selectors): `curate select`, `curate sample`.

Imports `manifest` and `vectors`; never teachers, ledger, calls or audit. The contracts and registries of both are in `base`;
policies stand in `policies`, selectors in `selectors`, `coreset` and `facility_location`.
"""

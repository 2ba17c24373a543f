"""Train a student on balanced snapshots in K stages."""

"""The ledger: which points a PointSet owns, and what was last written of each. Specified in docs/ledger.md."""

"""Points: which there should be, which there are, and how the difference is written. See the ledger's specification
in docs/ledger.md.
"""

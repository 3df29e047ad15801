"""`python -m vectorops`: the same as the `vectorops` command."""

from vectorops.cli import main

main()

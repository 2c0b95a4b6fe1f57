"""`python -m dse` is the `dse` command."""

from dse.cli.app import main

main()

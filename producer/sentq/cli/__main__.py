"""`python -m sentq.cli` is `sentq`."""

from sentq.cli import main

main()

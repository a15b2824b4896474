"""`python -m instructrestore`: the command."""

from instructrestore.pipelines.cli import main

main()

"""`python -m instructrestore`: the command."""

from instructrestore.pipelines.cli import main

if __name__ == "__main__":
    main()

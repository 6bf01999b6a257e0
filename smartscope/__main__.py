"""``python -m smartscope`` is the command line."""

from smartscope.cli import main

main()

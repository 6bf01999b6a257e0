"""Testing: contract suites and helpers, also for authors of plug-ins."""

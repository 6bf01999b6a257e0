"""Report: one page that shows what a run achieved."""

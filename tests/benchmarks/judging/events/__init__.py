"""Events judged on simulated specimens."""

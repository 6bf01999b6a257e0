"""Safety: limits, the one gate, the dose ledger, the watchdog and the supervisor process."""

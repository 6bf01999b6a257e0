"""Detection judged: particles by the frozen evaluator, masks by the challenge's own formulas, speed, and a peer."""

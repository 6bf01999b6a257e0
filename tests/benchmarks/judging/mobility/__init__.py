"""What the benchmark of mobility is made of: the frozen evaluator, motion of our own simulation, cost of a frame."""

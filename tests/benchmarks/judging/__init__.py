"""What the benchmarks judge with: the frozen evaluators, candidates that turn files into files, our own measures."""

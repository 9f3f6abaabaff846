"""What all benchmarks share: rounds, figures, results, processes under load. No benchmark of its own."""

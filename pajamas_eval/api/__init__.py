"""The contracts between the core and its plugins: runtimes and benchmarks."""

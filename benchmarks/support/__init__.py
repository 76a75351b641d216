"""What the benchmarks and the tests share: references, rivals, records."""

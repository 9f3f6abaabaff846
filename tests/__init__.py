"""Everything that tries to break the promises: unit (no I/O), system (real Kafka, PostgreSQL, processes), faults."""

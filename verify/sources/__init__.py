"""Where the judge reads: files, REST, PostgreSQL, Kafka. Each raises CannotJudge when it cannot."""

"""What every process needs: settings, structured logs, health and metrics over HTTP, orderly shutdown."""

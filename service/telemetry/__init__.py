"""What is told of the calls besides their answers: numbers for Prometheus, spans for a tracer."""

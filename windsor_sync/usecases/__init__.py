"""Use cases: one module for each thing that people and schedules ask for."""

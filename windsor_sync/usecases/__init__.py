"""What people and schedules ask for, one module each."""

"""What Segment itself says of audiences, their keys and suppressed users, by its Public API."""

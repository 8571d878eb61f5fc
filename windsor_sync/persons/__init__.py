"""What is known of merged ids, and every id of a person."""

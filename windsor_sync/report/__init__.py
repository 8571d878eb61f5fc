"""What our state knows of audiences, runs and events, for people: view models, charts, pages and one file of them all."""

"""Views of audiences, runs and events for people: view models, charts, pages and one HTML file of them all."""

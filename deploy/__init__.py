"""What docker-compose.yml needs beside the package: secrets, first things, health; and `make up`, which needs no container."""

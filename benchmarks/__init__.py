"""The measured claims of this project, each a ratio against something run in the same call.

python -m benchmarks [NAMES…] [--rows N] [--json FILE]
"""

"""Segment's words: values in, values out, nothing but the standard library and inflection."""

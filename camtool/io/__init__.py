"""Files in and out: pictures; and whatever is written, written whole or not at all."""

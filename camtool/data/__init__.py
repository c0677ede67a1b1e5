"""What goes in: pictures."""

"""What goes in: pictures, and data sets of them."""

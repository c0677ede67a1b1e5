"""Recording in a network and temporary changes of it, all undone afterwards."""

"""Draw overlays, panels, grids and curves. The only room that draws."""

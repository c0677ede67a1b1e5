"""What comes out: overlays, panels and grids. The only room that draws."""
